//! dockerd's own events of a container: `GET /events` with both ends of the time in the past, which it
//! answers from the last 256 that it keeps, one JSON object a line.
//!
//! ```text
//!   t0          t1    t3    t4     t5      what must have caused an event, and what it must have caused
//!   │  create   │     │     │      │       before the answer to the request; nothing runs before it
//!   │   connect │     │     │      │       the network is there before the payload is
//!   │    attach ─ ─ ─ ─ ─ ─ ─ ─ ─ ─│       noted behind the answer
//!   │      start ─ ─ ─ ─ ─ ─ ─ ─ ─ │       noted when the payload already runs; not behind `die`
//!   │           │     │  die  ─ ─ ─│       noted beside the answer to `wait` that is t4
//!   │           │     │ disconnect │       beside it, before or behind
//!   │           │     │     │ destroy      before the answer to the removal
//! ```

use std::path::Path;
use std::time::Duration;

use nix::sys::utsname::uname;
use serde_json::{Value, json};

use super::super::chronicle::Chronicle;
use super::super::command::Patience;
use super::super::http::{Answer, Body, Connection, NoAnswer};
use super::super::tail::brief;
use super::api::{Docker, filters};
use crate::backend::child::Deadline;
use crate::told::{Event, Known, Named, Untold};

/// How long the answer may take: it is in memory.
const ANSWER: Duration = Duration::from_secs(1);
/// Longest line that is looked at, bytes. Ours have some 600; a stranger's labels may be long.
const LONGEST: usize = 16 << 10;

const fn event(name: &'static str, [from, to]: [Named; 2], follows: Option<&'static str>) -> Known {
    Known {
        name,
        from,
        to,
        follows,
    }
}

/// Every container has these once, with any network, also none.
const KNOWN: [Known; 7] = [
    event("create", [Named::T0, Named::T1], None),
    event("attach", [Named::T0, Named::T5], Some("create")),
    event("network connect", [Named::T0, Named::T1], Some("create")),
    event("start", [Named::T0, Named::T5], Some("create")),
    event("die", [Named::T3, Named::T5], Some("start")),
    event(
        "network disconnect",
        [Named::T3, Named::T5],
        Some("network connect"),
    ),
    event("destroy", [Named::T4, Named::T5], Some("die")),
];

impl Chronicle for Docker {
    fn by(&self) -> &'static str {
        "dockerd"
    }

    fn known(&self) -> &'static [Known] {
        &KNOWN
    }

    fn events(&self, name: &str, since: i64, until: i64) -> Result<Vec<Event>, Untold> {
        same_kernel(self.kernel.as_deref())?;
        if self.mute.get() {
            let before = "it had none for a trial before, and is not asked again";
            return Err(Untold::Unanswered(before.to_owned()));
        }
        let told = ask(&self.endpoint.socket, name, since, until);
        // Otherwise every trial would wait for it.
        self.mute.set(matches!(told, Err(Untold::Unanswered(_))));
        told
    }
}

fn ask(socket: &Path, name: &str, since: i64, until: i64) -> Result<Vec<Event>, Untold> {
    let [since, until] = [since, until].map(seconds);
    // A network's events are not a container's: by its name or id they would be left out.
    let filters = filters(&json!({
        "type": ["container", "network"],
        "event": ["create", "attach", "start", "die", "destroy", "connect", "disconnect"],
    }));
    let path = format!("/events?since={since}&until={until}&{filters}");
    let patience = Patience::until(Deadline::after(ANSWER));
    let answer = Connection::open(socket)
        .map_err(NoAnswer::from)
        .and_then(|mut connection| connection.ask("GET", &path, Body::None, patience))
        .and_then(Answer::success);
    parse(&answer.map_err(unanswered)?, name)
}

fn unanswered(why: NoAnswer) -> Untold {
    Untold::Unanswered(match why {
        NoAnswer::Interrupted => "interrupted".to_owned(),
        NoAnswer::Engine(how) => brief(&how.to_string()),
    })
}

/// A daemon behind a socket that is passed on, from a virtual machine, has a wall clock of its own.
fn same_kernel(theirs: Option<&str>) -> Result<(), Untold> {
    let ours = uname().map_err(Untold::NoKernel)?;
    let ours = ours.release().to_string_lossy();
    match theirs {
        Some(theirs) if theirs != ours => Err(Untold::OtherKernel {
            theirs: brief(theirs),
            ours: ours.into_owned(),
        }),
        // One that does not say is held to the order of its events.
        _ => Ok(()),
    }
}

/// As the Engine API takes it.
fn seconds(wall: i64) -> String {
    let second = 1_000_000_000;
    format!("{}.{:09}", wall.div_euclid(second), wall.rem_euclid(second))
}

/// The known events of the container of this name. Others' are passed over, as is what is too long to be
/// one of ours.
fn parse(body: &[u8], name: &str) -> Result<Vec<Event>, Untold> {
    let mut lines = Vec::new();
    for (index, line) in body.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() || line.len() > LONGEST {
            continue;
        }
        let garbage = move |problem| Untold::Garbage {
            line: index + 1,
            problem,
        };
        let value: Value = serde_json::from_slice(line).map_err(|_| garbage("no JSON"))?;
        if !value.is_object() {
            return Err(garbage("no object"));
        }
        lines.push((value, garbage));
    }
    let is_it = |value: &Value| {
        value["Type"] == "container" && value["Actor"]["Attributes"]["name"] == name
    };
    // A network's events name the container by its id.
    let id = lines.iter().find(|(value, _)| is_it(value));
    let id = id.and_then(|(value, _)| value["Actor"]["ID"].as_str());
    let mut events: Vec<Event> = Vec::new();
    for (value, garbage) in &lines {
        let of = match value["Type"].as_str() {
            Some("network") => {
                let container = value["Actor"]["Attributes"]["container"].as_str();
                (container.is_some() && container == id).then_some("network ")
            }
            _ => is_it(value).then_some(""),
        };
        let Some((prefix, action)) = of.zip(value["Action"].as_str()) else {
            continue;
        };
        let is_known = |known: &&Known| known.name.strip_prefix(prefix) == Some(action);
        let Some(Known { name, .. }) = KNOWN.iter().find(is_known) else {
            continue;
        };
        let wall = value["timeNano"].as_i64().filter(|wall| *wall > 0);
        let wall = wall.ok_or_else(|| garbage("it has no timeNano"))?;
        if events.iter().any(|event| event.name == *name) {
            return Err(Untold::Twice(name));
        }
        events.push(Event { name, wall });
    }
    Ok(events)
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
