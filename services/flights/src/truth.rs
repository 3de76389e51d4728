//! What the stores must hold once everything is fed, computed straight from the CSV files.
//!
//! It shares nothing with the topology but the rows: neither the framework nor the code that fills the stores, and the
//! fields of the values are written out here once more. So a mistake on either side shows as a difference.
//!
//! What the topology promises, in words:
//! - a flight is cancelled when its `dep_time` is missing; missing delays are not counted;
//! - `flights` and `scheduled` are all scheduled flights, cancelled ones included;
//! - a plane that is not in the table (or whose tail number is missing) has no entry;
//! - names come from the tables, and are null where the table has no row.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    data,
    model::{Airline, Airport, Plane, stores},
};

/// The content of every store.
#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    stores: BTreeMap<&'static str, BTreeMap<String, Value>>,
    flights: u64,
}

#[derive(Debug, Default)]
struct Carrier {
    flights: u64,
    cancelled: u64,
    departure_delays: Vec<i64>,
    arrival_delays: Vec<i64>,
}

/// Flights, and a sum of miles or minutes.
#[derive(Debug, Default)]
struct Tally {
    flights: u64,
    sum: i64,
}

#[derive(Debug, Default)]
struct Day {
    flown: u64,
    cancelled: u64,
}

// === impl Truth ===

impl Truth {
    /// Reads the whole data set. Takes about a second of CPU: not for the async runtime.
    pub fn compute() -> anyhow::Result<Self> {
        Self::compute_from(data::flights()?)
    }

    /// The same for some of the flights.
    pub fn compute_from(rows: impl IntoIterator<Item = anyhow::Result<data::ScheduledFlight>>) -> anyhow::Result<Self> {
        let planes: BTreeMap<String, Plane> = by_id(data::planes(), |plane| plane.tailnum.clone())?;
        let mut carriers: BTreeMap<String, Carrier> = BTreeMap::new();
        let mut routes: BTreeMap<(String, String), Tally> = BTreeMap::new();
        let mut tails: BTreeMap<String, Tally> = BTreeMap::new();
        let mut days: BTreeMap<String, Day> = BTreeMap::new();
        let mut flights = 0;

        for row in rows {
            let flight = row?.flight;
            let cancelled = flight.dep_time.is_none();
            flights += 1;

            let day = days.entry(format!("{}-{:02}-{:02}", flight.year, flight.month, flight.day)).or_default();
            *(if cancelled { &mut day.cancelled } else { &mut day.flown }) += 1;

            let carrier = carriers.entry(flight.carrier).or_default();
            carrier.flights += 1;
            carrier.cancelled += u64::from(cancelled);
            carrier.departure_delays.extend(flight.dep_delay);
            carrier.arrival_delays.extend(flight.arr_delay);

            let route = routes.entry((flight.origin, flight.dest)).or_default();
            route.flights += 1;
            route.sum += flight.distance;

            if let Some(tailnum) = flight.tailnum.filter(|tailnum| planes.contains_key(tailnum)) {
                let tail = tails.entry(tailnum).or_default();
                tail.flights += 1;
                tail.sum += flight.dep_delay.unwrap_or(0);
            }
        }

        let stores = BTreeMap::from([
            (stores::DELAYS_BY_CARRIER, delays_by_carrier(carriers)?),
            (stores::FLIGHTS_BY_ROUTE, flights_by_route(routes)?),
            (stores::DELAYS_BY_PLANE, delays_by_plane(tails, &planes)),
            (stores::FLIGHTS_PER_DAY, flights_per_day(days)),
        ]);
        Ok(Self { stores, flights })
    }

    /// All stores by name, each with its values by key.
    #[must_use]
    pub fn stores(&self) -> &BTreeMap<&'static str, BTreeMap<String, Value>> {
        &self.stores
    }

    /// What one store holds; `None` when there is no store of that name.
    #[must_use]
    pub fn store(&self, name: &str) -> Option<&BTreeMap<String, Value>> {
        self.stores.get(name)
    }

    /// How many flights it was computed from.
    #[must_use]
    pub fn flights(&self) -> u64 {
        self.flights
    }

    /// How many keys all stores have together.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.stores.values().map(BTreeMap::len).sum()
    }
}

fn delays_by_carrier(carriers: BTreeMap<String, Carrier>) -> anyhow::Result<BTreeMap<String, Value>> {
    let airlines: BTreeMap<String, Airline> = by_id(data::airlines(), |airline| airline.carrier.clone())?;
    let delays = |minutes: &[i64]| {
        json!({
            "count": minutes.len(),
            "sum_minutes": minutes.iter().sum::<i64>(),
            "max_minutes": minutes.iter().max(),
        })
    };
    let value = |code: &str, carrier: &Carrier| {
        json!({
            "name": airlines.get(code).map(|airline| &airline.name),
            "flights": carrier.flights,
            "cancelled": carrier.cancelled,
            "departure_delay": delays(&carrier.departure_delays),
            "arrival_delay": delays(&carrier.arrival_delays),
        })
    };
    Ok(carriers.into_iter().map(|(code, carrier)| (code.clone(), value(&code, &carrier))).collect())
}

fn flights_by_route(routes: BTreeMap<(String, String), Tally>) -> anyhow::Result<BTreeMap<String, Value>> {
    let airports: BTreeMap<String, Airport> = by_id(data::airports(), |airport| airport.faa.clone())?;
    let name = |code: &str| airports.get(code).map(|airport| &airport.name);
    let entry = |((origin, destination), tally): ((String, String), Tally)| {
        let value = json!({
            "flights": tally.flights,
            "distance_miles": tally.sum,
            "origin_name": name(&origin),
            "destination_name": name(&destination),
        });
        (format!("{origin}-{destination}"), value)
    };
    Ok(routes.into_iter().map(entry).collect())
}

fn delays_by_plane(tails: BTreeMap<String, Tally>, planes: &BTreeMap<String, Plane>) -> BTreeMap<String, Value> {
    let entry = |(tailnum, tally): (String, Tally)| {
        let plane = planes.get(&tailnum)?;
        let value = json!({
            "flights": tally.flights,
            "departure_delay_minutes": tally.sum,
            "manufacturer": plane.manufacturer,
            "model": plane.model,
        });
        Some((tailnum, value))
    };
    tails.into_iter().filter_map(entry).collect()
}

fn flights_per_day(days: BTreeMap<String, Day>) -> BTreeMap<String, Value> {
    let value =
        |day: &Day| json!({ "scheduled": day.flown + day.cancelled, "flown": day.flown, "cancelled": day.cancelled });
    days.into_iter().map(|(date, day)| (date, value(&day))).collect()
}

fn by_id<T>(
    rows: impl Iterator<Item = anyhow::Result<T>>,
    id: impl Fn(&T) -> String,
) -> anyhow::Result<BTreeMap<String, T>> {
    rows.map(|row| row.map(|row| (id(&row), row))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers were computed by another program in another language.
    #[test]
    fn agrees_with_an_independent_computation() -> anyhow::Result<()> {
        let truth = Truth::compute()?;
        let sizes: Vec<usize> = stores::ALL.iter().map(|store| truth.stores[store].len()).collect();
        assert_eq!((truth.flights(), sizes), (336_776, vec![16, 224, 3_322, 365]));

        let expected = [
            (
                stores::DELAYS_BY_CARRIER,
                "UA",
                json!({
                    "name": "United Air Lines Inc.", "flights": 58665, "cancelled": 686,
                    "departure_delay": {"count": 57979, "sum_minutes": 701_898, "max_minutes": 483},
                    "arrival_delay": {"count": 57782, "sum_minutes": 205_589, "max_minutes": 455},
                }),
            ),
            (
                stores::FLIGHTS_BY_ROUTE,
                "JFK-LAX",
                json!({
                    "flights": 11262, "distance_miles": 27_873_450,
                    "origin_name": "John F Kennedy Intl", "destination_name": "Los Angeles Intl",
                }),
            ),
            (
                stores::FLIGHTS_BY_ROUTE,
                "EWR-SJU",
                json!({
                    "flights": 1067, "distance_miles": 1_715_736,
                    "origin_name": "Newark Liberty Intl", "destination_name": null,
                }),
            ),
            (
                stores::DELAYS_BY_PLANE,
                "N14228",
                json!({
                    "flights": 111, "departure_delay_minutes": 1585, "manufacturer": "BOEING", "model": "737-824",
                }),
            ),
            (stores::FLIGHTS_PER_DAY, "2013-02-09", json!({"scheduled": 684, "flown": 291, "cancelled": 393})),
        ];
        for (store, key, value) in expected {
            assert_eq!(truth.stores[store][key], value, "{store} {key}");
        }
        Ok(())
    }
}
