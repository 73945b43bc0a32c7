//! What a daemon's own instants must be beyond their types.

use super::check_trial::{LONGEST_TIME, check_name};
use super::read_error::Refusal;
use super::record::{Measured, ToldRecord};
use crate::metric::Nanos;

/// More than any daemon says of one container.
const MOST_EVENTS: usize = 64;
/// Longest reason, in bytes: a daemon's own words are in it, bounded.
const LONGEST_REASON: usize = 2 << 10;

/// Either events with a bound, inside the trial and in order, or a reason why not.
pub(super) fn check_told(field: &str, told: &ToldRecord, m: &Measured) -> Result<(), Refusal> {
    let at = |name: &str| format!("{field}.{name}");
    check_name(&at("by"), &told.by)?;
    if told.events.len() + told.missing.len() > MOST_EVENTS {
        let problem = format!("more than {MOST_EVENTS}");
        return Err(Refusal::new(at("events"), problem));
    }
    let Some(bound) = told.bound else {
        return check_absent(field, told);
    };
    if told.absent.is_some() {
        return Err(Refusal::new(at("absent"), "present beside `bound`"));
    }
    if !(0..=LONGEST_TIME).contains(&bound.0) {
        let problem = format!("{} ns is not from 0 to {LONGEST_TIME}", bound.0);
        return Err(Refusal::new(at("bound"), problem));
    }
    for (index, name) in told.missing.iter().enumerate() {
        check_name(&at(&format!("missing[{index}]")), name)?;
    }
    let names = told.events.iter().map(|event| &event.name);
    let names: Vec<&String> = names.chain(&told.missing).collect();
    let twice = (1..names.len()).find(|index| names[..*index].contains(&names[*index]));
    if let Some(index) = twice {
        let problem = format!("{:?} is there twice", names[index]);
        return Err(Refusal::new(at("events"), problem));
    }
    let mut last = Nanos(i64::MIN);
    for (index, event) in told.events.iter().enumerate() {
        let at = |name: &str| at(&format!("events[{index}].{name}"));
        check_name(&at("name"), &event.name)?;
        // Each is rounded by itself.
        let slack = bound.0 + 1;
        let ns = event.at.0;
        if !(-slack..=m.t5.0.saturating_add(slack)).contains(&ns) {
            let problem = format!("{ns} ns is not between t0 and t5");
            return Err(Refusal::new(at("at"), problem));
        }
        if event.at < last {
            let problem = format!("{ns} ns is before the event before it");
            return Err(Refusal::new(at("at"), problem));
        }
        last = event.at;
    }
    Ok(())
}

fn check_absent(field: &str, told: &ToldRecord) -> Result<(), Refusal> {
    let at = |name: &str| format!("{field}.{name}");
    let Some(why) = &told.absent else {
        return Err(Refusal::new(at("bound"), "missing, and so is `absent`"));
    };
    if !told.events.is_empty() || !told.missing.is_empty() {
        return Err(Refusal::new(at("events"), "present beside `absent`"));
    }
    if why.is_empty() || why.len() > LONGEST_REASON || why.chars().any(char::is_control) {
        let problem = format!("not 1 to {LONGEST_REASON} bytes of printable text");
        return Err(Refusal::new(at("absent"), problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::{Record, TrialRecord};

    /// A trial of `dockerd` as it is stored, with this of its daemon.
    fn checked(told: &str) -> Result<(), Refusal> {
        let line = format!(
            r#"{{"record":"trial","trial":0,"block":0,"backend":"dockerd","workload":"noop","warmup":false,
            "measured":{{"t1":500,"t2":600,"t3":550,"t4":700,"t5":900,"timed":0,"units":0,
            "digest":"0123456789abcdef","isa":"avx2","clock":"same","clock_bound":1,"phases":[],
            "unaccounted":500,"teardown":[]{told}}}}}"#
        );
        let record: Record = serde_json::from_str(&line).unwrap();
        if let Record::Trial(trial) = &record {
            let TrialRecord { measured, .. } = trial.as_ref();
            let again = serde_json::to_string(measured).unwrap();
            assert_eq!(told.is_empty(), !again.contains("told"), "{again}");
        }
        super::super::check_trial::check(&record)
    }

    fn refused(told: &str) -> String {
        checked(&format!(r#","told":{told}"#))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn events_or_a_reason_are_read_and_so_is_a_run_without() {
        checked("").unwrap();
        for told in [
            r#"{"by":"dockerd","events":[{"name":"create","at":-3},{"name":"destroy","at":902}],"bound":2,
                "missing":["die"]}"#,
            r#"{"by":"dockerd","absent":"no answer"}"#,
        ] {
            checked(&format!(r#","told":{told}"#)).unwrap();
        }
    }

    #[test]
    fn what_cannot_have_been_is_refused_by_its_field() {
        for (told, says) in [
            (r#"{"by":"dockerd"}"#, "measured.told.bound: missing"),
            (r#"{"by":"","absent":"x"}"#, "measured.told.by"),
            (
                r#"{"by":"dockerd","absent":"\u0007"}"#,
                "measured.told.absent",
            ),
            (
                r#"{"by":"dockerd","absent":"x","bound":1}"#,
                "measured.told.absent: present",
            ),
            (
                r#"{"by":"dockerd","absent":"x","missing":["die"]}"#,
                "measured.told.events: present",
            ),
            (
                r#"{"by":"dockerd","bound":-1}"#,
                "measured.told.bound: -1 ns",
            ),
            (
                r#"{"by":"dockerd","bound":1,"events":[{"name":"die","at":903}]}"#,
                "measured.told.events[0].at: 903 ns is not between",
            ),
            (
                r#"{"by":"dockerd","bound":1,"events":[{"name":"die","at":9},{"name":"start","at":8}]}"#,
                "measured.told.events[1].at: 8 ns is before",
            ),
            (
                r#"{"by":"dockerd","bound":1,"events":[{"name":"\n","at":9}]}"#,
                "measured.told.events[0].name",
            ),
            (
                r#"{"by":"dockerd","bound":1,"events":[{"name":"die","at":9}],"missing":["die"]}"#,
                "measured.told.events: \"die\" is there twice",
            ),
        ] {
            let found = refused(told);
            assert!(found.contains(says), "{told}: {found}");
        }
        let many = vec![r#""die""#; MOST_EVENTS + 1].join(",");
        let many = format!(r#"{{"by":"dockerd","bound":1,"missing":[{many}]}}"#);
        assert!(refused(&many).contains("more than"));
    }
}
