//! What the service computes.
//!
//! ```text
//!             airlines (global)
//!                   │
//! flights ──┬── with airline ─── by carrier ───────────────────▶ delays-by-carrier
//!           ├── with airports ── by route ─────────────────────▶ flights-by-route
//!           │       │
//!           │   airports (global)
//!           │
//!           ├───────────────── by tail number ── with plane ───▶ delays-by-plane
//!           │                                        │
//!           │                                  planes (table)
//!           └───────────────── by day ─────────────────────────▶ flights-per-day
//! ```
//!
//! Each branch makes of a flight what its store needs before the key changes: that is what goes through its repartition
//! topic, and it is a fraction of a flight.

use millpond::{
    Serdes, Topology, TopologyError,
    dsl::{GlobalTable, Stream, Table},
};
use serde::{Deserialize, Serialize};

use crate::model::{
    Airline, Airport, CarrierDelays, DayTraffic, Flight, Plane, PlaneDelays, RouteTraffic, stores, topics,
};

/// The topology of the service.
///
/// # Errors
/// None that depends on anything outside: a test builds it.
pub fn topology() -> Result<Topology, TopologyError> {
    let topology = Topology::builder("flights");
    let airlines = topology.global_table(topics::AIRLINES, Serdes::json());
    let airports = topology.global_table(topics::AIRPORTS, Serdes::json());
    let planes = topology.table(topics::PLANES, Serdes::json());
    let flights = topology.stream(topics::FLIGHTS, Serdes::json());

    delays_by_carrier(&flights, &airlines);
    flights_by_route(&flights, &airports);
    delays_by_plane(&flights, &planes);
    flights_per_day(&flights);
    topology.build()
}

type Flights<'t> = Stream<'t, String, Flight>;

// === By carrier ===

/// What of a flight goes to its carrier.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct CarrierFlight {
    airline: Option<String>,
    cancelled: bool,
    departure_delay: Option<i64>,
    arrival_delay: Option<i64>,
}

fn delays_by_carrier(flights: &Flights<'_>, airlines: &GlobalTable<'_, String, Airline>) {
    flights
        .select_key(|_, flight| flight.carrier.clone())
        .left_join_global(
            airlines,
            |carrier, _| carrier.clone(),
            |_, flight, airline| CarrierFlight {
                airline: airline.map(|airline| airline.name.clone()),
                cancelled: flight.cancelled(),
                departure_delay: flight.dep_delay,
                arrival_delay: flight.arr_delay,
            },
        )
        .group_by_key()
        .aggregate(CarrierDelays::default, |_, flight, mut delays| {
            delays.name.clone_from(&flight.airline);
            delays.flights += 1;
            delays.cancelled += u64::from(flight.cancelled);
            delays.departure_delay.add(flight.departure_delay);
            delays.arrival_delay.add(flight.arrival_delay);
            delays
        })
        .materialized(stores::DELAYS_BY_CARRIER)
        .queryable();
}

// === By route ===

/// A flight on the way to its route: with the first airport's name.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Leg {
    destination: String,
    distance_miles: i64,
    origin_name: Option<String>,
}

/// What of a flight goes to its route.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct RouteFlight {
    distance_miles: i64,
    origin_name: Option<String>,
    destination_name: Option<String>,
}

fn flights_by_route(flights: &Flights<'_>, airports: &GlobalTable<'_, String, Airport>) {
    let name = |airport: Option<&Airport>| airport.map(|airport| airport.name.clone());
    flights
        .select_key(|_, flight| flight.route())
        .left_join_global(
            airports,
            |_, flight| flight.origin.clone(),
            move |_, flight, origin| Leg {
                destination: flight.dest.clone(),
                distance_miles: flight.distance,
                origin_name: name(origin),
            },
        )
        .left_join_global(
            airports,
            |_, leg| leg.destination.clone(),
            move |_, leg, destination| RouteFlight {
                distance_miles: leg.distance_miles,
                origin_name: leg.origin_name.clone(),
                destination_name: name(destination),
            },
        )
        .group_by_key()
        .aggregate(RouteTraffic::default, |_, flight, mut traffic| {
            traffic.flights += 1;
            traffic.distance_miles += flight.distance_miles;
            traffic.origin_name.clone_from(&flight.origin_name);
            traffic.destination_name.clone_from(&flight.destination_name);
            traffic
        })
        .materialized(stores::FLIGHTS_BY_ROUTE)
        .queryable();
}

// === By plane ===

/// What of a flight goes to its plane.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct PlaneFlight {
    departure_delay: Option<i64>,
}

/// A flight with what is known of its plane.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct KnownPlaneFlight {
    departure_delay: Option<i64>,
    manufacturer: String,
    model: String,
}

/// An inner join: flights of unknown planes, and those without a tail number, are left out.
fn delays_by_plane(flights: &Flights<'_>, planes: &Table<'_, String, Plane>) {
    flights
        .map(|_, flight| (flight.tailnum.clone(), PlaneFlight { departure_delay: flight.dep_delay }))
        .join(planes, |_, flight, plane| KnownPlaneFlight {
            departure_delay: flight.departure_delay,
            manufacturer: plane.manufacturer.clone(),
            model: plane.model.clone(),
        })
        .group_by_key()
        .aggregate(PlaneDelays::default, |_, flight, mut delays| {
            delays.flights += 1;
            delays.departure_delay_minutes += flight.departure_delay.unwrap_or(0);
            delays.manufacturer.clone_from(&flight.manufacturer);
            delays.model.clone_from(&flight.model);
            delays
        })
        .materialized(stores::DELAYS_BY_PLANE)
        .queryable();
}

// === By day ===

fn flights_per_day(flights: &Flights<'_>) {
    flights
        .map(|_, flight| (flight.date(), flight.cancelled()))
        .group_by_key()
        .aggregate(DayTraffic::default, |_, cancelled, mut day| {
            day.scheduled += 1;
            day.flown += u64::from(!cancelled);
            day.cancelled += u64::from(*cancelled);
            day
        })
        .materialized(stores::FLIGHTS_PER_DAY)
        .queryable();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use millpond::testing::{TestTopic, TopologyTestDriver};
    use serde_json::Value;

    use super::*;
    use crate::{data, feed::TABLES_TIMESTAMP_MS, truth::Truth};

    /// A driver of the topology that has read the tables.
    fn driver() -> anyhow::Result<TopologyTestDriver> {
        let mut driver = TopologyTestDriver::new(&topology()?)?;
        let airlines = TestTopic::<String, Airline>::new(topics::AIRLINES, Serdes::json());
        for airline in data::airlines() {
            let airline = airline?;
            driver.pipe(&airlines, &airline.carrier, &airline, TABLES_TIMESTAMP_MS)?;
        }
        let airports = TestTopic::<String, Airport>::new(topics::AIRPORTS, Serdes::json());
        for airport in data::airports() {
            let airport = airport?;
            driver.pipe(&airports, &airport.faa, &airport, TABLES_TIMESTAMP_MS)?;
        }
        let planes = TestTopic::<String, Plane>::new(topics::PLANES, Serdes::json());
        for plane in data::planes() {
            let plane = plane?;
            driver.pipe(&planes, &plane.tailnum, &plane, TABLES_TIMESTAMP_MS)?;
        }
        Ok(driver)
    }

    fn rows(driver: &TopologyTestDriver, store: &str) -> anyhow::Result<BTreeMap<String, Value>> {
        let rows = driver.rows(store, &Serdes::<String, Value>::json())?;
        Ok(rows.into_iter().map(|(key, value, _)| (key, value)).collect())
    }

    #[test]
    fn the_stores_hold_the_truth() -> anyhow::Result<()> {
        let mut driver = driver()?;
        let flights = TestTopic::<String, Flight>::new(topics::FLIGHTS, Serdes::json());
        let some = || data::flights().map(|flights| flights.step_by(50));
        for row in some()? {
            let row = row?;
            driver.pipe(&flights, &row.flight.id(), &row.flight, row.departure_ms)?;
        }
        let truth = Truth::compute_from(some()?)?;
        assert_eq!(truth.flights(), 6_736);
        for (store, expected) in truth.stores() {
            assert_eq!(rows(&driver, store)?, *expected, "{store}");
        }
        Ok(())
    }
}
