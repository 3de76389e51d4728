//! The data set, built into the binary: readers that go through its CSV files row by row.
//!
//! Errors name the file and the line.

use std::{fmt, io::Read, str::FromStr};

use anyhow::{Context as _, anyhow};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};

use crate::model::{Airline, Airport, Flight, Plane};

const AIRLINES: &[u8] = include_bytes!("../data/airlines.csv");
const AIRPORTS: &[u8] = include_bytes!("../data/airports.csv");
const PLANES: &[u8] = include_bytes!("../data/planes.csv");
const FLIGHTS: &[u8] = include_bytes!("../data/flights.csv.zst");

/// A flight and when it was to depart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledFlight {
    /// The scheduled departure, in ms since the epoch: the event time of its record.
    pub departure_ms: i64,
    /// The flight.
    pub flight: Flight,
}

/// All airlines, in file order.
pub fn airlines() -> impl Iterator<Item = anyhow::Result<Airline>> {
    rows("airlines.csv", AIRLINES)
}

/// All airports, in file order.
pub fn airports() -> impl Iterator<Item = anyhow::Result<Airport>> {
    rows("airports.csv", AIRPORTS).map(|row| row.map(|row: AirportRow| row.into()))
}

/// All planes, in file order.
pub fn planes() -> impl Iterator<Item = anyhow::Result<Plane>> {
    rows("planes.csv", PLANES).map(|row| row.map(|row: PlaneRow| row.into()))
}

/// All flights, in file order: neither by scheduled nor by actual departure (the months are sorted as text).
pub fn flights() -> anyhow::Result<impl Iterator<Item = anyhow::Result<ScheduledFlight>>> {
    let csv = zstd::Decoder::with_buffer(FLIGHTS).context("flights.csv.zst")?;
    Ok(rows("flights.csv", csv).map(|row| row.map(|row: FlightRow| row.into())))
}

fn rows<R: DeserializeOwned>(file: &'static str, csv: impl Read) -> impl Iterator<Item = anyhow::Result<R>> {
    csv::Reader::from_reader(csv).into_deserialize().map(move |row| {
        row.map_err(|error| match error.position() {
            Some(position) => anyhow!("{file}, line {}: {error}", position.line()),
            None => anyhow!("{file}: {error}"),
        })
    })
}

// === Rows as they are in the files ===

#[derive(Debug, Deserialize)]
struct FlightRow {
    year: u32,
    month: u32,
    day: u32,
    dep_time: Na<u32>,
    sched_dep_time: u32,
    dep_delay: Na<i64>,
    arr_delay: Na<i64>,
    carrier: String,
    flight: u32,
    tailnum: Na<String>,
    origin: String,
    dest: String,
    air_time: Na<i64>,
    distance: i64,
    minute: u32,
    time_hour: UtcHour,
}

#[derive(Debug, Deserialize)]
struct AirportRow {
    faa: String,
    name: String,
    lat: f64,
    lon: f64,
    alt: i32,
    tzone: Na<String>,
}

#[derive(Debug, Deserialize)]
struct PlaneRow {
    tailnum: String,
    year: Na<u32>,
    manufacturer: String,
    model: String,
    engines: u32,
    seats: u32,
    engine: String,
}

/// A column in which `NA` is a missing value. In the others it would be a name like any other.
#[derive(Debug)]
struct Na<T>(Option<T>);

/// A whole hour in UTC, written `2013-01-01T10:00:00Z`; in ms since the epoch.
#[derive(Debug)]
struct UtcHour(i64);

// === impl FlightRow ===

impl From<FlightRow> for ScheduledFlight {
    fn from(row: FlightRow) -> Self {
        let flight = Flight {
            year: row.year,
            month: row.month,
            day: row.day,
            sched_dep_time: row.sched_dep_time,
            dep_time: row.dep_time.0,
            dep_delay: row.dep_delay.0,
            arr_delay: row.arr_delay.0,
            carrier: row.carrier,
            flight: row.flight,
            tailnum: row.tailnum.0,
            origin: row.origin,
            dest: row.dest,
            air_time: row.air_time.0,
            distance: row.distance,
        };
        Self { departure_ms: row.time_hour.0 + i64::from(row.minute) * 60_000, flight }
    }
}

// === impl AirportRow ===

impl From<AirportRow> for Airport {
    fn from(row: AirportRow) -> Self {
        let AirportRow { faa, name, lat, lon, alt, tzone } = row;
        Self { faa, name, lat, lon, alt, tzone: tzone.0 }
    }
}

// === impl PlaneRow ===

impl From<PlaneRow> for Plane {
    fn from(row: PlaneRow) -> Self {
        let PlaneRow { tailnum, year, manufacturer, model, engines, seats, engine } = row;
        Self { tailnum, year: year.0, manufacturer, model, engines, seats, engine }
    }
}

// === impl Na ===

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Na<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "NA" => Ok(Self(None)),
            text => match text.parse() {
                Ok(value) => Ok(Self(Some(value))),
                Err(error) => Err(D::Error::custom(format_args!("`{text}` is neither a value nor NA: {error}"))),
            },
        }
    }
}

// === impl UtcHour ===

impl<'de> Deserialize<'de> for UtcHour {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match parse_utc_hour(&text) {
            Some(ms) => Ok(Self(ms)),
            None => Err(D::Error::custom(format_args!("`{text}` is no hour like 2013-01-01T10:00:00Z"))),
        }
    }
}

fn parse_utc_hour(text: &str) -> Option<i64> {
    let (date, hour) = text.strip_suffix(":00:00Z")?.split_once('T')?;
    let mut date = date.split('-').map(|number| number.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let hour: i64 = hour.parse().ok()?;
    let valid = date.next().is_none()
        && (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour);
    valid.then(|| (days_since_epoch(year, month, day) * 24 + hour) * 3_600_000)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years begin in March here, so that the leap day is a year's last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    const DAYS_TO_EPOCH: i64 = 719_468; // from 0000-03-01
    let year = if month <= 2 { year - 1 } else { year };
    let months_since_march = (month + 9) % 12;
    let day_of_year = (153 * months_since_march + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - DAYS_TO_EPOCH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_row() -> anyhow::Result<()> {
        let flights = flights()?.collect::<anyhow::Result<Vec<_>>>()?;
        assert_eq!(flights.len(), 336_776);
        assert_eq!(flights.iter().filter(|row| row.flight.cancelled()).count(), 8_255);
        assert_eq!(flights[0].departure_ms, 1_357_035_300_000, "2013-01-01T10:15:00Z");
        assert_eq!(flights[0].flight.id(), "UA-1545-2013-01-01-EWR");
        assert_eq!(flights.iter().map(|row| row.departure_ms).min(), Some(flights[0].departure_ms));
        assert_eq!(airlines().collect::<anyhow::Result<Vec<_>>>()?.len(), 16);
        assert_eq!(airports().collect::<anyhow::Result<Vec<_>>>()?.len(), 1_458);
        assert_eq!(planes().collect::<anyhow::Result<Vec<_>>>()?.len(), 3_322);
        Ok(())
    }

    #[test]
    fn a_flight_keeps_its_place_when_fed_again() -> anyhow::Result<()> {
        let ids: std::collections::HashSet<String> =
            flights()?.map(|row| row.map(|row| row.flight.id())).collect::<anyhow::Result<_>>()?;
        assert_eq!(ids.len(), 336_776, "ids are unique");
        Ok(())
    }

    #[test]
    fn missing_values_are_null_and_bad_ones_name_file_and_line() {
        #[derive(Debug, Deserialize)]
        struct Row {
            delay: Na<i64>,
        }
        let rows: Vec<anyhow::Result<Row>> = rows("late.csv", "delay\n-3\nNA\nsoon\n".as_bytes()).collect();
        assert_eq!(rows[0].as_ref().ok().and_then(|row| row.delay.0), Some(-3));
        assert_eq!(rows[1].as_ref().ok().map(|row| row.delay.0), Some(None));
        let error = rows[2].as_ref().expect_err("`soon` is no number").to_string();
        assert!(error.starts_with("late.csv, line 4: ") && error.contains("`soon`"), "{error}");
    }

    #[test]
    fn hours_are_counted_over_leap_days() {
        let days = |text| parse_utc_hour(text).map(|ms| ms / 86_400_000);
        assert_eq!(days("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(days("2000-02-29T23:00:00Z"), Some(11_016));
        assert_eq!(days("2000-03-01T00:00:00Z"), Some(11_017));
        assert_eq!(parse_utc_hour("2014-01-01T04:00:00Z"), Some(1_388_548_800_000));
        assert_eq!(parse_utc_hour("2013-13-01T00:00:00Z"), None);
        assert_eq!(parse_utc_hour("2013-01-01T10:30:00Z"), None, "not a whole hour");
        assert_eq!(parse_utc_hour("2013-01-01"), None);
    }
}
