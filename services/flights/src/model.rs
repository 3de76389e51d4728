//! What travels on the topics and what the stores hold, as JSON.
//!
//! The records are the rows of the data set under the names of its columns; `NA` is null. The values of the stores have
//! exactly the fields, and their order, that the service promises to its callers.

use serde::{Deserialize, Serialize};

/// Names of the topics that the service reads and [`crate::feed`] writes.
pub mod topics {
    /// [`Airline`](super::Airline)s by carrier code.
    pub const AIRLINES: &str = "airlines";
    /// [`Airport`](super::Airport)s by FAA code.
    pub const AIRPORTS: &str = "airports";
    /// [`Plane`](super::Plane)s by tail number.
    pub const PLANES: &str = "planes";
    /// [`Flight`](super::Flight)s by [`Flight::id`](super::Flight::id).
    pub const FLIGHTS: &str = "flights";
    /// All of them, the reference tables first.
    pub const ALL: [&str; 4] = [AIRLINES, AIRPORTS, PLANES, FLIGHTS];
}

/// Names of the stores that can be queried.
pub mod stores {
    /// [`CarrierDelays`](super::CarrierDelays) by carrier code, e.g. `UA`.
    pub const DELAYS_BY_CARRIER: &str = "delays-by-carrier";
    /// [`RouteTraffic`](super::RouteTraffic) by [`Flight::route`](super::Flight::route), e.g. `JFK-LAX`.
    pub const FLIGHTS_BY_ROUTE: &str = "flights-by-route";
    /// [`PlaneDelays`](super::PlaneDelays) by tail number, e.g. `N14228`.
    pub const DELAYS_BY_PLANE: &str = "delays-by-plane";
    /// [`DayTraffic`](super::DayTraffic) by [`Flight::date`](super::Flight::date), e.g. `2013-01-01`.
    pub const FLIGHTS_PER_DAY: &str = "flights-per-day";
    /// All of them.
    pub const ALL: [&str; 4] = [DELAYS_BY_CARRIER, FLIGHTS_BY_ROUTE, DELAYS_BY_PLANE, FLIGHTS_PER_DAY];
}

// === Records ===

/// A scheduled departure from one of New York's airports. The record's timestamp is the scheduled departure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flight {
    /// Year of the scheduled departure, in New York.
    pub year: u32,
    /// Its month, from 1.
    pub month: u32,
    /// Its day, from 1.
    pub day: u32,
    /// Its local time of day as the number `hmm`: 517 is 5:17.
    pub sched_dep_time: u32,
    /// The actual departure in the same form; null when the flight was cancelled.
    pub dep_time: Option<u32>,
    /// Minutes late at departure, negative when early.
    pub dep_delay: Option<i64>,
    /// Minutes late at arrival, negative when early; null too when the flight was diverted.
    pub arr_delay: Option<i64>,
    /// Two-letter code of the airline.
    pub carrier: String,
    /// Flight number.
    pub flight: u32,
    /// Tail number of the plane, when it is known.
    pub tailnum: Option<String>,
    /// FAA code of the airport it leaves.
    pub origin: String,
    /// FAA code of the airport it is bound for.
    pub dest: String,
    /// Minutes in the air.
    pub air_time: Option<i64>,
    /// Miles between the airports.
    pub distance: i64,
}

/// An airline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Airline {
    /// Two-letter code.
    pub carrier: String,
    /// Full name.
    pub name: String,
}

/// An airport.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Airport {
    /// FAA code.
    pub faa: String,
    /// Full name.
    pub name: String,
    /// Latitude in degrees.
    pub lat: f64,
    /// Longitude in degrees.
    pub lon: f64,
    /// Altitude in feet.
    pub alt: i32,
    /// IANA time zone.
    pub tzone: Option<String>,
}

/// A plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plane {
    /// Tail number.
    pub tailnum: String,
    /// Year of manufacture.
    pub year: Option<u32>,
    /// Who built it.
    pub manufacturer: String,
    /// What it is.
    pub model: String,
    /// Number of engines.
    pub engines: u32,
    /// Number of seats.
    pub seats: u32,
    /// Kind of engine.
    pub engine: String,
}

// === Values of the stores ===

/// How late the flights of an airline were.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarrierDelays {
    /// The airline's name; null when the table has none.
    pub name: Option<String>,
    /// Scheduled flights, cancelled ones included.
    pub flights: u64,
    /// Those that never departed.
    pub cancelled: u64,
    /// At departure.
    pub departure_delay: Delays,
    /// At arrival.
    pub arrival_delay: Delays,
}

/// A summary of known delays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delays {
    /// How many are known.
    pub count: u64,
    /// Their sum; early flights count negative.
    pub sum_minutes: i64,
    /// The greatest; null when none is known.
    pub max_minutes: Option<i64>,
}

/// How much a route was flown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTraffic {
    /// Scheduled flights, cancelled ones included.
    pub flights: u64,
    /// Sum of their distances.
    pub distance_miles: i64,
    /// Name of the first airport; null when the table has none.
    pub origin_name: Option<String>,
    /// Name of the second airport; null when the table has none.
    pub destination_name: Option<String>,
}

/// How late a plane was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaneDelays {
    /// Scheduled flights, cancelled ones included.
    pub flights: u64,
    /// Sum of its known delays at departure; early flights count negative.
    pub departure_delay_minutes: i64,
    /// Who built it.
    pub manufacturer: String,
    /// What it is.
    pub model: String,
}

/// What happened on a day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayTraffic {
    /// Scheduled flights.
    pub scheduled: u64,
    /// Those that departed.
    pub flown: u64,
    /// Those that did not.
    pub cancelled: u64,
}

// === impl Flight ===

impl Flight {
    /// Whether it never departed.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.dep_time.is_none()
    }

    /// The day of the scheduled departure in New York, e.g. `2013-01-01`.
    #[must_use]
    pub fn date(&self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }

    /// Where from and where to, e.g. `JFK-LAX`.
    #[must_use]
    pub fn route(&self) -> String {
        format!("{}-{}", self.origin, self.dest)
    }

    /// The key of the record, e.g. `UA-1545-2013-01-01-EWR`: an airline uses a number once a day per airport, so
    /// it is unique, a flight that is fed again lands on the same partition, and flights spread evenly.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}-{}-{}-{}", self.carrier, self.flight, self.date(), self.origin)
    }
}

// === impl Delays ===

impl Delays {
    /// Takes one more delay in, when it is known.
    pub fn add(&mut self, minutes: Option<i64>) {
        let Some(minutes) = minutes else { return };
        self.count += 1;
        self.sum_minutes += minutes;
        self.max_minutes = self.max_minutes.max(Some(minutes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields and their order are a promise to those who query.
    #[test]
    fn values_have_the_promised_fields() -> anyhow::Result<()> {
        let mut carrier =
            CarrierDelays { name: Some("Hawaiian".into()), flights: 3, cancelled: 1, ..Default::default() };
        for minutes in [Some(-4), None, Some(-9)] {
            carrier.departure_delay.add(minutes);
        }
        assert_eq!(
            serde_json::to_string(&carrier)?,
            concat!(
                r#"{"name":"Hawaiian","flights":3,"cancelled":1,"#,
                r#""departure_delay":{"count":2,"sum_minutes":-13,"max_minutes":-4},"#,
                r#""arrival_delay":{"count":0,"sum_minutes":0,"max_minutes":null}}"#
            )
        );
        assert_eq!(
            serde_json::to_string(&RouteTraffic { origin_name: Some("Newark".into()), ..Default::default() })?,
            r#"{"flights":0,"distance_miles":0,"origin_name":"Newark","destination_name":null}"#
        );
        assert_eq!(
            serde_json::to_string(&PlaneDelays { model: "737".into(), ..Default::default() })?,
            r#"{"flights":0,"departure_delay_minutes":0,"manufacturer":"","model":"737"}"#
        );
        assert_eq!(serde_json::to_string(&DayTraffic::default())?, r#"{"scheduled":0,"flown":0,"cancelled":0}"#);
        Ok(())
    }
}
