//! A daemon that notes what it does and when: asked when a trial is over and nothing of it is left, so that
//! the trial knows nothing of it. Nothing of this fails a trial.

use crate::told::{Event, Known, Said, Told, Untold, WallReading};

/// A daemon that keeps events.
pub trait Chronicle {
    /// Its name.
    fn by(&self) -> &'static str;

    /// What it notes of every instance.
    fn known(&self) -> &'static [Known];

    /// What it has noted of the instance of this name, between two times of the wall clock (ns since 1970).
    ///
    /// # Errors
    /// It does not say.
    fn events(&self, name: &str, since: i64, until: i64) -> Result<Vec<Event>, Untold>;
}

/// The wall clock around a trial: begun before `t0`, ended behind `t5`.
#[derive(Debug)]
pub struct Watch(Result<WallReading, Untold>);

/// A trial that is over.
#[derive(Debug)]
pub struct Watched(Result<[WallReading; 2], Untold>);

impl Watch {
    /// Before `t0`.
    pub fn begin() -> Self {
        Self(WallReading::take())
    }

    /// Behind `t5`.
    pub fn end(self) -> Watched {
        Watched(self.0.and_then(|first| Ok([first, WallReading::take()?])))
    }
}

impl Watched {
    /// What the daemon says of it.
    pub fn told(self, chronicle: &dyn Chronicle, name: &str) -> Told {
        let said = self.0.and_then(|around| {
            let [first, last] = around.map(|reading| reading.wall);
            let events = chronicle.events(name, first, last)?;
            Ok(Said { events, around })
        });
        Told {
            by: chronicle.by(),
            known: chronicle.known(),
            said,
        }
    }
}
