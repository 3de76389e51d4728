//! The wires between instances: a proxy before each of them, which the others take for the instance, and links that can be cut.
//!
//! An instance is told the address of its proxy as the one that it tells the others (`MILLPOND_ADVERTISED_URL`), so probes and forwarded requests
//! pass here; Kafka does not, and neither do the questions of the test. Who is at the other end of a connection is looked up in `/proc`: a link
//! is cut between two instances and not between an instance and everybody.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// Bytes that are carried at a time.
const CHUNK: usize = 16 * 1024;

/// How a link is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// What is sent does not arrive, until it is whole again: a cable that is pulled.
    Silent,
    /// Connections are closed, and there are no new ones: a firewall that rejects.
    Closed,
}

/// From one instance to another.
type Link = (usize, usize);

/// The wires of a fleet.
#[derive(Debug)]
pub(super) struct Wires {
    urls: Vec<String>,
    cuts: watch::Sender<BTreeMap<Link, Cut>>,
    pids: Arc<Mutex<Vec<Option<u32>>>>,
    proxies: Vec<JoinHandle<()>>,
}

/// A proxy before one instance.
#[derive(Debug, Clone)]
struct Proxy {
    number: usize,
    behind: SocketAddr,
    cuts: watch::Receiver<BTreeMap<Link, Cut>>,
    pids: Arc<Mutex<Vec<Option<u32>>>>,
}

// === impl Wires ===

impl Wires {
    /// Whole wires before instances that listen there.
    pub(super) async fn lay(instances: &[SocketAddr]) -> anyhow::Result<Self> {
        let (cuts, watched) = watch::channel(BTreeMap::new());
        let pids = Arc::new(Mutex::new(vec![None; instances.len()]));
        let (mut urls, mut proxies) = (Vec::new(), Vec::new());
        for (number, behind) in instances.iter().enumerate() {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            urls.push(format!("http://{}", listener.local_addr()?));
            let proxy = Proxy { number, behind: *behind, cuts: watched.clone(), pids: Arc::clone(&pids) };
            proxies.push(tokio::spawn(proxy.run(listener)));
        }
        Ok(Self { urls, cuts, pids, proxies })
    }

    /// Where the others find an instance.
    pub(super) fn url(&self, number: usize) -> &str {
        &self.urls[number]
    }

    /// Which processes the instances are now.
    pub(super) fn set_pids(&self, pids: Vec<Option<u32>>) {
        *self.pids.lock().unwrap_or_else(PoisonError::into_inner) = pids;
    }

    /// Cuts a link, one way: what the first asks the second.
    pub(super) fn cut(&self, link: Link, cut: Cut) {
        self.cuts.send_modify(|cuts| {
            cuts.insert(link, cut);
        });
    }

    /// Makes a link whole again.
    pub(super) fn mend(&self, link: Link) {
        self.cuts.send_modify(|cuts| {
            cuts.remove(&link);
        });
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        for proxy in &self.proxies {
            proxy.abort();
        }
    }
}

// === impl Proxy ===

impl Proxy {
    async fn run(self, listener: TcpListener) {
        loop {
            // Too many open files, say: the next one may come in.
            let Ok((stream, from)) = listener.accept().await else { continue };
            tokio::spawn(self.clone().carry(stream, from));
        }
    }

    /// Carries one connection until it ends, or is cut.
    async fn carry(mut self, stream: TcpStream, from: SocketAddr) {
        let pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let link = who_has(from, &pids).map(|asks| (asks, self.number));
        let cut = |cuts: &BTreeMap<Link, Cut>, how| link.is_some_and(|link| cuts.get(&link) == Some(&how));
        let mut closed = self.cuts.clone();
        let carried = async {
            let _whole = self.cuts.wait_for(|cuts| !cut(cuts, Cut::Silent)).await.ok()?;
            drop(_whole);
            let behind = TcpStream::connect(self.behind).await.ok()?;
            let ((up, down), (answers, questions)) = (stream.into_split(), behind.into_split());
            let back = self.cuts.clone();
            tokio::join!(pump(up, questions, self.cuts.clone(), link), pump(answers, down, back, link));
            Some(())
        };
        tokio::select! {
            _ = carried => {}
            _ = closed.wait_for(|cuts| cut(cuts, Cut::Closed)) => {}
        }
    }
}

/// Carries bytes one way, as long as the link lets them pass.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut cuts: watch::Receiver<BTreeMap<Link, Cut>>,
    link: Option<Link>,
) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        let silent = |cuts: &BTreeMap<Link, Cut>| link.is_some_and(|link| cuts.get(&link) == Some(&Cut::Silent));
        if cuts.wait_for(|cuts| !silent(cuts)).await.is_err() || to.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await; // the other side may be gone already
}

/// Which of these processes has the connection from this local address.
fn who_has(from: SocketAddr, pids: &[Option<u32>]) -> Option<usize> {
    let socket = socket_of(from).ok().flatten()?;
    let has = |pid: u32| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let is_it = |path: &Path| std::fs::read_link(path).is_ok_and(|target| *target == *Path::new(&socket));
        files.flatten().any(|file| is_it(&file.path())).then_some(())
    };
    pids.iter().position(|pid| pid.is_some_and(|pid| has(pid).is_some()))
}

/// The name that the socket with this local address has among open files.
fn socket_of(local: SocketAddr) -> anyhow::Result<Option<String>> {
    let SocketAddr::V4(local) = local else { return Ok(None) };
    // As the kernel prints it: the address in the machine's byte order.
    let address = format!("{:08X}:{:04X}", u32::from_ne_bytes(local.ip().octets()), local.port());
    for line in std::fs::read_to_string("/proc/net/tcp")?.lines().skip(1) {
        let mut fields = line.split_whitespace().skip(1);
        if fields.next() == Some(&*address) {
            let inode = fields.nth(7).context("a line of /proc/net/tcp has an inode")?;
            return Ok(Some(format!("socket:[{inode}]")));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// An instance that says every byte again.
    async fn echo() -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await.map(drop)
                });
            }
        });
        Ok(address)
    }

    async fn says(stream: &mut TcpStream, byte: u8) -> std::io::Result<u8> {
        stream.write_all(&[byte]).await?;
        stream.read_u8().await
    }

    #[tokio::test]
    async fn links_are_cut_and_mended() -> anyhow::Result<()> {
        let wires = Wires::lay(&[echo().await?, echo().await?]).await?;
        wires.set_pids(vec![Some(std::process::id()), None]); // this process is the first instance
        let address = wires.url(1).trim_start_matches("http://").to_owned();
        let mut stream = TcpStream::connect(&address).await?;
        assert_eq!(says(&mut stream, 1).await?, 1);

        wires.cut((1, 0), Cut::Silent);
        assert_eq!(says(&mut stream, 2).await?, 2, "the other way");
        wires.cut((0, 1), Cut::Silent);
        let mut asked = Box::pin(says(&mut stream, 3));
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut asked).await.is_err(), "nothing passes");
        wires.mend((0, 1));
        assert_eq!(asked.await?, 3, "it was only late");

        wires.cut((0, 1), Cut::Closed);
        assert!(says(&mut stream, 4).await.is_err());
        assert!(says(&mut TcpStream::connect(&address).await?, 5).await.is_err());
        wires.mend((0, 1));
        assert_eq!(says(&mut TcpStream::connect(&address).await?, 6).await?, 6);
        Ok(())
    }
}
