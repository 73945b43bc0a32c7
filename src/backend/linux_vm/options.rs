//! What a kernel's command line leaves out, one saving each, so that each can be measured alone; and
//! which devices the machine has beside a serial port.

use std::fmt;

/// Something that a kernel for one payload need not do or say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Saving {
    /// Print no more than warnings.
    Quiet,
    /// Have no console at all.
    Console,
    /// Look for no PCI bus.
    Pci,
    /// Look for no ACPI tables, of which there are none.
    Acpi,
    /// Look for no keyboard controller.
    Keyboard,
    /// Put the kernel where it was linked for.
    Kaslr,
    /// Have no security module.
    Lsm,
    /// Test no timer interrupt and trust the time-stamp counter.
    Timer,
}

impl Saving {
    /// All, in the order of their spelling in an id.
    pub const ALL: [Self; 8] = [
        Self::Quiet,
        Self::Console,
        Self::Pci,
        Self::Acpi,
        Self::Keyboard,
        Self::Kaslr,
        Self::Lsm,
        Self::Timer,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Console => "console",
            Self::Pci => "pci",
            Self::Acpi => "acpi",
            Self::Keyboard => "keyboard",
            Self::Kaslr => "kaslr",
            Self::Lsm => "lsm",
            Self::Timer => "timer",
        }
    }

    /// The parameters (`Documentation/admin-guide/kernel-parameters.txt`).
    #[must_use]
    pub const fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Quiet => &["quiet"],
            Self::Console => &["8250.nr_uarts=0"],
            Self::Pci => &["pci=off"],
            Self::Acpi => &["acpi=off"],
            Self::Keyboard => &["initcall_blacklist=i8042_init"],
            Self::Kaslr => &["nokaslr"],
            Self::Lsm => &["lsm="],
            Self::Timer => &["tsc=reliable", "no_timer_check"],
        }
    }
}

/// A set of savings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Savings(u16);

/// A device that a machine has only when it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Extra {
    /// A virtio disk, read-only: one partition with the payload in it.
    Disk,
    /// A virtio console, on which the kernel prints instead of the serial port.
    Console,
}

impl Extra {
    /// All, in the order of their spelling.
    pub const ALL: [Self; 2] = [Self::Disk, Self::Console];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Console => "console",
        }
    }
}

/// What a machine with a Linux leaves out, and what it has more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Options {
    /// What the command line leaves out.
    pub savings: Savings,
    /// It has a virtio disk.
    pub disk: bool,
    /// It has a virtio console, and prints there.
    pub console: bool,
}

impl From<Savings> for Options {
    fn from(savings: Savings) -> Self {
        Self {
            savings,
            ..Self::default()
        }
    }
}

impl Options {
    /// Whether it has any device that must be announced.
    #[must_use]
    pub const fn has_devices(self) -> bool {
        self.disk || self.console
    }

    /// Kernel parameters: those of the savings, and where it prints.
    #[must_use]
    pub fn parameters(self) -> Vec<&'static str> {
        let mut parameters = self.savings.parameters();
        if self.console {
            parameters.retain(|parameter| *parameter != SERIAL_CONSOLE);
            parameters.push("console=hvc0");
        }
        parameters
    }

    /// Reads what follows `linux-vm:`.
    ///
    /// # Errors
    /// See [`SavingsError`].
    pub fn parse(text: &str) -> Result<Self, SavingsError> {
        let mut options = Self::default();
        let (savings, with) = match text.split_once(":with=") {
            Some((savings, list)) => (Some(savings), Some(list)),
            None => match text.strip_prefix("with=") {
                Some(list) => (None, Some(list)),
                None => (Some(text), None),
            },
        };
        if let Some(text) = savings {
            options.savings = Savings::parse(text)?;
        }
        for name in with.into_iter().flat_map(|list| list.split('+')) {
            let found = Extra::ALL.into_iter().find(|extra| extra.name() == name);
            match found.ok_or_else(|| SavingsError::Device(name.to_owned()))? {
                Extra::Disk => options.disk = true,
                Extra::Console => options.console = true,
            }
        }
        Ok(options)
    }
}

impl fmt::Display for Options {
    /// The shortest spelling, with its colons: empty for none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = [self.disk, self.console];
        let extras = Extra::ALL.into_iter().zip(has).filter(|(_, has)| *has);
        let extras: Vec<_> = extras.map(|(extra, _)| extra.name()).collect();
        match extras.is_empty() {
            true => self.savings.fmt(f),
            false => write!(f, "{}:with={}", self.savings, extras.join("+")),
        }
    }
}

/// Where the kernel prints by default.
const SERIAL_CONSOLE: &str = "console=ttyS0";

/// Why a text names no set of savings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SavingsError {
    /// Neither `lean`, nor `save=…`, nor `keep=…`.
    #[error("there is no option {0:?}; expected lean, save=LIST, keep=LIST or with=LIST")]
    Option(String),
    /// No such saving.
    #[error("there is no saving {0:?}; expected one of {known}", known = names())]
    Saving(String),
    /// No such device.
    #[error("there is no device {0:?}; expected one of disk, console")]
    Device(String),
}

fn names() -> String {
    Saving::ALL.map(Saving::name).join(", ")
}

impl Savings {
    /// None: the command line has what a boot needs.
    pub const NONE: Self = Self(0);

    /// Every one.
    #[must_use]
    pub fn lean() -> Self {
        Self(Saving::ALL.iter().fold(0, |set, saving| set | bit(*saving)))
    }

    /// Whether it has this one.
    #[must_use]
    pub const fn has(self, saving: Saving) -> bool {
        self.0 & bit(saving) != 0
    }

    fn iter(self) -> impl Iterator<Item = Saving> {
        Saving::ALL.into_iter().filter(move |s| self.has(*s))
    }

    /// Kernel parameters: how a kernel without firmware ends and where it prints, then each saving's.
    #[must_use]
    pub fn parameters(self) -> Vec<&'static str> {
        // A panic ends the machine at once, by a triple fault.
        let mut parameters = vec!["panic=-1", "reboot=t"];
        if !self.has(Saving::Console) {
            parameters.push(SERIAL_CONSOLE);
        }
        parameters.extend(self.iter().flat_map(Saving::parameters));
        parameters
    }

    /// Reads what follows `linux-vm:`.
    ///
    /// # Errors
    /// See [`SavingsError`].
    pub fn parse(text: &str) -> Result<Self, SavingsError> {
        if text == "lean" {
            return Ok(Self::lean());
        }
        let set = |list: &str| {
            list.split('+').try_fold(0, |set, name| {
                let found = Saving::ALL.into_iter().find(|s| s.name() == name);
                let found = found.ok_or_else(|| SavingsError::Saving(name.to_owned()))?;
                Ok(set | bit(found))
            })
        };
        match text.split_once('=') {
            Some(("save", list)) => set(list).map(Self),
            Some(("keep", list)) => set(list).map(|kept| Self(Self::lean().0 & !kept)),
            _ => Err(SavingsError::Option(text.to_owned())),
        }
    }
}

const fn bit(saving: Saving) -> u16 {
    1 << saving as u8
}

impl fmt::Display for Savings {
    /// The shortest spelling, with its colon: empty for none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |savings: Self| {
            savings
                .iter()
                .map(Saving::name)
                .collect::<Vec<_>>()
                .join("+")
        };
        let kept = Self(Self::lean().0 & !self.0);
        if *self == Self::NONE {
            Ok(())
        } else if kept == Self::NONE {
            f.write_str(":lean")
        } else if kept.0.count_ones() < self.0.count_ones() {
            write!(f, ":keep={}", list(kept))
        } else {
            write!(f, ":save={}", list(*self))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_spelled_and_read_back() {
        for bits in 0..=Savings::lean().0 {
            let savings = Savings(bits);
            let text = savings.to_string();
            match text.strip_prefix(':') {
                None => assert_eq!(savings, Savings::NONE),
                Some(text) => assert_eq!(Savings::parse(text), Ok(savings), "{text}"),
            }
        }
        assert_eq!(Savings::lean().to_string(), ":lean");
        assert_eq!(
            Savings::parse("keep=quiet").unwrap().to_string(),
            ":keep=quiet"
        );
        for wrong in ["", "lean=", "save=", "save=pci+", "keep=x", "save=pci,acpi"] {
            assert!(Savings::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn devices_are_spelled_behind_the_savings() {
        for text in [
            "with=disk",
            "with=disk+console",
            "lean:with=console",
            "save=pci:with=disk",
        ] {
            let options = Options::parse(text).unwrap();
            assert_eq!(options.to_string(), format!(":{text}"));
        }
        let options = Options::parse("lean").unwrap();
        assert_eq!(options, Savings::lean().into());
        for wrong in [
            "with=",
            "with=net",
            "with=disk,console",
            "lean:with=",
            ":with=disk",
        ] {
            assert!(Options::parse(wrong).is_err(), "{wrong:?}");
        }
        let line = |text: &str| Options::parse(text).unwrap().parameters().join(" ");
        assert_eq!(line("with=console"), "panic=-1 reboot=t console=hvc0");
        assert_eq!(line("with=disk"), "panic=-1 reboot=t console=ttyS0");
    }

    #[test]
    fn a_command_line_has_each_savings_parameters_and_no_other() {
        let line = |text: &str| Savings::parse(text).unwrap().parameters().join(" ");
        assert_eq!(
            Savings::NONE.parameters().join(" "),
            "panic=-1 reboot=t console=ttyS0"
        );
        assert_eq!(line("save=pci"), "panic=-1 reboot=t console=ttyS0 pci=off");
        assert_eq!(line("save=console"), "panic=-1 reboot=t 8250.nr_uarts=0");
    }
}
