//! How a container is asked for: `container:without=net`, `container:ns=pid+mnt`, …

use std::fmt;

use super::mechanism::{Mechanism, Mechanisms};

/// The options of a container. Equal options make equal containers, whatever they were spelled as.
///
/// ```text
///   container                    the default mechanisms
///   container:none               none: the launcher alone
///   container:ns=pid+net         these namespaces (namespaces(7)) and nothing else
///   container:only=rootfs        these mechanisms, with what they need, and nothing else
///   container:with=user+time     the default and these
///   container:without=net        the default without these, and without what needs them
/// ```
/// `with` and `without` go together: `container:with=time:without=seccomp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Options {
    /// What it is made of.
    pub mechanisms: Mechanisms,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mechanisms: Mechanisms::DEFAULT,
        }
    }
}

/// Why an option is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OptionError(String);

impl Options {
    /// From what stands behind `container:`.
    ///
    /// # Errors
    /// Names the part that is not understood, and what was expected.
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        let mut mechanisms = Mechanisms::DEFAULT;
        let mut seen: Vec<&str> = Vec::new();
        let refuse = |why: String| Err(OptionError(why));
        for part in text.split(':') {
            let (key, list) = part
                .split_once('=')
                .map_or((part, None), |(k, l)| (k, Some(l)));
            if seen.contains(&key) {
                return refuse(format!("{key} is given twice"));
            }
            let whole = matches!(key, "none" | "ns" | "only");
            if let Some(other) = seen.first().filter(|_| whole) {
                return refuse(format!("{key} and {other} exclude each other"));
            }
            if let Some(other) = seen.iter().find(|s| matches!(**s, "none" | "ns" | "only")) {
                return refuse(format!("{key} and {other} exclude each other"));
            }
            seen.push(key);
            mechanisms = match (key, list) {
                ("none", None) => Mechanisms::NONE,
                ("ns", Some(list)) => Mechanisms::of(named(list, namespace)?),
                ("only", Some(list)) => Mechanisms::of(named(list, any)?),
                ("with", Some(list)) => named(list, any)?
                    .into_iter()
                    .fold(mechanisms, Mechanisms::with),
                ("without", Some(list)) => named(list, any)?
                    .into_iter()
                    .fold(mechanisms, Mechanisms::without),
                _ => {
                    return refuse(format!(
                        "there is no option {part:?}; expected none, ns=LIST, only=LIST, with=LIST or \
                         without=LIST"
                    ));
                }
            };
        }
        Ok(Self { mechanisms })
    }
}

fn named(
    list: &str,
    find: fn(&str) -> Result<Mechanism, OptionError>,
) -> Result<Vec<Mechanism>, OptionError> {
    list.split('+').map(find).collect()
}

/// A namespace, by the names of namespaces(7): `cgroup` is the cgroup namespace here.
fn namespace(name: &str) -> Result<Mechanism, OptionError> {
    if name == "cgroup" {
        return Ok(Mechanism::CgroupNs);
    }
    Mechanism::from_name(name)
        .filter(|m| m.namespace().is_some())
        .ok_or_else(|| {
            OptionError(format!(
                "there is no namespace {name:?}; expected user, pid, net, ipc, mnt, uts, cgroup or time"
            ))
        })
}

/// Any mechanism by its name.
fn any(name: &str) -> Result<Mechanism, OptionError> {
    Mechanism::from_name(name).ok_or_else(|| {
        let known = Mechanism::ALL.map(Mechanism::name).join(", ");
        OptionError(format!(
            "there is no mechanism {name:?}; expected one of {known}"
        ))
    })
}

impl fmt::Display for Options {
    /// The shortest spelling, with the colon before it; nothing for the default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (has, default) = (self.mechanisms, Mechanisms::DEFAULT);
        if has == default {
            return Ok(());
        }
        if has == Mechanisms::NONE {
            return f.write_str(":none");
        }
        // What is implied need not be said: only the last of a chain is named.
        let heads = |set: Vec<Mechanism>, implied: &dyn Fn(Mechanism) -> bool| {
            let kept: Vec<&str> = set
                .iter()
                .filter(|m| !implied(**m))
                .map(|m| m.name())
                .collect();
            kept.join("+")
        };
        let added: Vec<_> = has.iter().filter(|m| !default.has(*m)).collect();
        let removed: Vec<_> = default.iter().filter(|m| !has.has(*m)).collect();
        if has.iter().count() <= removed.len() + added.len() {
            let all: Vec<_> = has.iter().collect();
            let implied = |one: Mechanism| has.iter().any(|m| m.needs() == Some(one));
            let namespaces = all.iter().all(|m| m.namespace().is_some());
            return write!(
                f,
                ":{}={}",
                if namespaces { "ns" } else { "only" },
                heads(all, &implied)
            );
        }
        if !added.is_empty() {
            let implied = |one: Mechanism| added.iter().any(|m| m.needs() == Some(one));
            write!(f, ":with={}", heads(added.clone(), &implied))?;
        }
        if !removed.is_empty() {
            let implied =
                |one: Mechanism| one.needs().is_some_and(|other| removed.contains(&other));
            write!(f, ":without={}", heads(removed.clone(), &implied))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Mechanisms {
        Options::parse(text).unwrap().mechanisms
    }

    #[test]
    fn options_mean_what_they_say() {
        use Mechanism::{CgroupNs, Mnt, Net, Pid, Rootfs, Seccomp, Time};
        assert_eq!(parsed("none"), Mechanisms::NONE);
        assert_eq!(parsed("ns=pid+net"), Mechanisms::of([Pid, Net]));
        assert_eq!(parsed("ns=cgroup"), Mechanisms::of([CgroupNs]));
        assert_eq!(parsed("only=rootfs"), Mechanisms::of([Mnt, Rootfs]));
        let both = parsed("with=time:without=seccomp");
        assert!(both.has(Time) && !both.has(Seccomp) && both.has(Rootfs));
        assert!(!parsed("without=mnt").has(Rootfs));
    }

    #[test]
    fn what_is_no_option_is_refused_by_name() {
        for (text, names) in [
            ("", "no option"),
            ("ns", "\"ns\""),
            ("none=pid", "none=pid"),
            ("ns=", "no namespace \"\""),
            ("ns=rootfs", "no namespace \"rootfs\""),
            ("only=nothing", "no mechanism \"nothing\""),
            ("without=net:without=pid", "without is given twice"),
            ("none:without=net", "exclude"),
            ("without=net:only=pid", "exclude"),
            ("with=time:", "no option \"\""),
        ] {
            let error = Options::parse(text).unwrap_err().to_string();
            assert!(error.contains(names), "{text}: {error}");
        }
    }

    proptest! {
        /// What is printed is read back as the same container.
        #[test]
        fn every_set_has_a_spelling(bits in 0u16..1 << Mechanism::ALL.len()) {
            let chosen = Mechanism::ALL.into_iter().filter(|m| bits & 1 << *m as u16 != 0);
            let options = Options { mechanisms: Mechanisms::of(chosen) };
            match options.to_string().strip_prefix(':') {
                None => prop_assert_eq!(options, Options::default()),
                Some(text) => prop_assert_eq!(Options::parse(text).unwrap(), options, "{}", text),
            }
        }
    }
}
