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
///   container:rootfs=overlay     tmpfs (default), bind or overlay: see Root
///   container:network=veth       none, loopback (default) or veth (loopback and a pair of interfaces)
/// ```
/// `with` and `without` go together, `rootfs` and `network` with everything that does not contradict
/// them: `container:with=time:without=seccomp:rootfs=bind`. `network` is another spelling of the
/// mechanisms `loopback` and `veth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Options {
    mechanisms: Mechanisms,
    root: Root,
}

impl Default for Options {
    fn default() -> Self {
        Self::of(Mechanisms::DEFAULT)
    }
}

/// What the fresh root of a container is ([`Mechanism::Rootfs`]). Read-only for the payload in every
/// case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Root {
    /// An empty tmpfs with a copy of the payload, made for each instance.
    #[default]
    Tmpfs,
    /// A read-only bind of a directory that is prepared once and shared by all instances.
    Bind,
    /// overlayfs as container engines use it: the prepared directory below, and an upper layer, on a
    /// tmpfs, for each instance.
    Overlay,
}

impl Root {
    /// All, the default first.
    pub const ALL: [Self; 3] = [Self::Tmpfs, Self::Bind, Self::Overlay];

    /// Name on the command line and in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tmpfs => "tmpfs",
            Self::Bind => "bind",
            Self::Overlay => "overlay",
        }
    }
}

/// Why an option is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OptionError(String);

/// Options that say all there is, so that nothing can be added or left out.
const WHOLE: [&str; 3] = ["none", "ns", "only"];

impl Options {
    /// These mechanisms, the root a tmpfs if it has one of its own.
    #[must_use]
    pub const fn of(mechanisms: Mechanisms) -> Self {
        Self {
            mechanisms,
            root: Root::Tmpfs,
        }
    }

    /// With a root of its own, of this kind.
    #[must_use]
    pub fn rooted(self, root: Root) -> Self {
        Self {
            mechanisms: self.mechanisms.with(Mechanism::Rootfs),
            root,
        }
    }

    /// Without one mechanism, and without what needs it.
    #[must_use]
    pub fn without(self, one: Mechanism) -> Self {
        let mechanisms = self.mechanisms.without(one);
        if mechanisms.has(Mechanism::Rootfs) {
            Self { mechanisms, ..self }
        } else {
            Self::of(mechanisms)
        }
    }

    /// What it is made of.
    #[must_use]
    pub const fn mechanisms(self) -> Mechanisms {
        self.mechanisms
    }

    /// What its root is, if it has one of its own.
    #[must_use]
    pub const fn root(self) -> Root {
        self.root
    }

    /// From what stands behind `container:`.
    ///
    /// # Errors
    /// Names the part that is not understood, and what was expected.
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        let mut parts: Vec<(&str, Option<&str>)> = Vec::new();
        let refuse = |why: String| Err(OptionError(why));
        for part in text.split(':') {
            let (key, list) = part
                .split_once('=')
                .map_or((part, None), |(k, l)| (k, Some(l)));
            if parts.iter().any(|(seen, _)| *seen == key) {
                return refuse(format!("{key} is given twice"));
            }
            let excludes = |one: &str, other: &str| {
                WHOLE.contains(&one)
                    && (WHOLE.contains(&other) || matches!(other, "with" | "without"))
            };
            if let Some((other, _)) = parts
                .iter()
                .find(|(other, _)| excludes(key, other) || excludes(other, key))
            {
                return refuse(format!("{key} and {other} exclude each other"));
            }
            parts.push((key, list));
        }
        let mut options = Self::default();
        // First what all is meant from, then what is changed of it, in the order given.
        parts.sort_by_key(|(key, _)| match *key {
            "with" | "without" => 2,
            "rootfs" | "network" => 1,
            _ => 0,
        });
        for &(key, list) in &parts {
            options = options.changed(key, list)?;
        }
        // Whatever the order, nothing may take back what another part asks for.
        for &(key, list) in &parts {
            let again = options.changed(key, list)?;
            if matches!(key, "rootfs" | "network") && again != options {
                let list = list.unwrap_or_default();
                return refuse(format!("the rest contradicts {key}={list}"));
            }
        }
        Ok(options)
    }

    /// With one part applied.
    fn changed(self, key: &str, list: Option<&str>) -> Result<Self, OptionError> {
        let from = self.mechanisms;
        let mechanisms = match (key, list) {
            ("none", None) => Mechanisms::NONE,
            ("ns", Some(list)) => Mechanisms::of(named(list, namespace)?),
            ("only", Some(list)) => Mechanisms::of(named(list, any)?),
            ("with", Some(list)) => named(list, any)?.into_iter().fold(from, Mechanisms::with),
            ("without", Some(list)) => named(list, any)?
                .into_iter()
                .fold(from, Mechanisms::without),
            ("rootfs", Some(name)) => return Ok(self.rooted(root_named(name)?)),
            ("network", Some(name)) => network(from, name)?,
            _ => {
                let part = list.map_or(key.to_owned(), |list| format!("{key}={list}"));
                return Err(OptionError(format!(
                    "there is no option {part:?}; expected none, ns=LIST, only=LIST, with=LIST, \
                     without=LIST, rootfs=KIND or network=KIND"
                )));
            }
        };
        Ok(Self { mechanisms, ..self })
    }
}

fn root_named(name: &str) -> Result<Root, OptionError> {
    Root::ALL
        .into_iter()
        .find(|root| root.name() == name)
        .ok_or_else(|| {
            let known = Root::ALL.map(Root::name).join(", ");
            OptionError(format!(
                "there is no rootfs {name:?}; expected one of {known}"
            ))
        })
}

fn network(from: Mechanisms, name: &str) -> Result<Mechanisms, OptionError> {
    let quiet = from.without(Mechanism::Veth);
    Ok(match name {
        "none" => quiet.without(Mechanism::Loopback),
        "loopback" => quiet.with(Mechanism::Loopback),
        "veth" => from.with(Mechanism::Loopback).with(Mechanism::Veth),
        other => {
            return Err(OptionError(format!(
                "there is no network {other:?}; expected none, loopback or veth"
            )));
        }
    })
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
        spell(self.mechanisms, f)?;
        match self.root {
            Root::Tmpfs => Ok(()),
            other => write!(f, ":rootfs={}", other.name()),
        }
    }
}

/// The mechanisms in as few words as there are.
fn spell(has: Mechanisms, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let default = Mechanisms::DEFAULT;
    if has == default {
        return Ok(());
    }
    if has == Mechanisms::NONE {
        return f.write_str(":none");
    }
    // What is implied need not be said: only the last of a chain is named.
    let heads = |set: &[Mechanism], implied: &dyn Fn(Mechanism) -> bool| {
        let kept: Vec<&str> = set
            .iter()
            .filter(|m| !implied(**m))
            .map(|m| m.name())
            .collect();
        kept.join("+")
    };
    let all: Vec<_> = has.iter().collect();
    let added: Vec<_> = has.iter().filter(|m| !default.has(*m)).collect();
    let removed: Vec<_> = default.iter().filter(|m| !has.has(*m)).collect();
    if all.len() <= removed.len() + added.len() {
        let implied = |one: Mechanism| has.iter().any(|m| m.needs() == Some(one));
        let namespaces = all.iter().all(|m| m.namespace().is_some());
        let key = if namespaces { "ns" } else { "only" };
        return write!(f, ":{key}={}", heads(&all, &implied));
    }
    if !added.is_empty() {
        let implied = |one: Mechanism| added.iter().any(|m| m.needs() == Some(one));
        write!(f, ":with={}", heads(&added, &implied))?;
    }
    if !removed.is_empty() {
        let implied = |one: Mechanism| one.needs().is_some_and(|other| removed.contains(&other));
        write!(f, ":without={}", heads(&removed, &implied))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Mechanisms {
        Options::parse(text).unwrap().mechanisms()
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
    fn a_root_has_a_kind_and_brings_its_mechanism() {
        let options = Options::parse("rootfs=bind").unwrap();
        assert_eq!(options, Options::default().rooted(Root::Bind));
        assert_eq!(options.to_string(), ":rootfs=bind");
        let only = Options::parse("rootfs=overlay:ns=pid").unwrap();
        assert_eq!(only.to_string(), ":only=pid+rootfs:rootfs=overlay");
        let default = Options::parse("rootfs=tmpfs").unwrap();
        assert_eq!(default, Options::default());
    }

    #[test]
    fn a_network_is_another_spelling_of_mechanisms() {
        let spelled = |text| Options::parse(text).unwrap().to_string();
        assert_eq!(spelled("network=none"), ":without=loopback");
        assert_eq!(spelled("network=loopback"), "");
        assert_eq!(spelled("network=veth"), ":with=veth");
        assert_eq!(
            spelled("without=pid:network=veth"),
            ":with=veth:without=pid"
        );
        assert_eq!(spelled("none:network=veth"), ":only=loopback+veth");
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
            ("rootfs", "no option \"rootfs\""),
            ("rootfs=ext4", "no rootfs \"ext4\""),
            ("network=host", "no network \"host\""),
            ("without=mnt:rootfs=bind", "contradicts rootfs=bind"),
            ("network=veth:without=net", "contradicts network=veth"),
            ("with=veth:network=none", "contradicts network=none"),
        ] {
            let error = Options::parse(text).unwrap_err().to_string();
            assert!(error.contains(names), "{text}: {error}");
        }
    }

    proptest! {
        /// What is printed is read back as the same container.
        #[test]
        fn every_set_has_a_spelling(
            bits in 0u16..1 << Mechanism::ALL.len(),
            root in proptest::option::of(0usize..Root::ALL.len()),
        ) {
            let chosen = Mechanism::ALL.into_iter().filter(|m| bits & 1 << *m as u16 != 0);
            let bare = Options::of(Mechanisms::of(chosen));
            let options = root.map_or(bare, |root| bare.rooted(Root::ALL[root]));
            match options.to_string().strip_prefix(':') {
                None => prop_assert_eq!(options, Options::default()),
                Some(text) => prop_assert_eq!(Options::parse(text).unwrap(), options, "{}", text),
            }
        }
    }
}
