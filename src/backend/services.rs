//! What backends share for a whole run, beside the trials: made when the first of them asks for it,
//! gone with the last one. A private `dockerd`, the folder with an engine's root directory.
//!
//! ```text
//!   let mut services = Services::default();                   // once a run
//!   backend::open_in(&configuration, &provided, &mut services)  // for each configuration
//!       └─ services.get(|services| Dockerd::start(services, …))?   // Rc<Dockerd>, the same for `dockerd`
//!                                                                  // and `docker`; its Drop ends it
//! ```
//!
//! A backend keeps its own [`Rc`] of what it needs, so that the order in which backends and the
//! `Services` are dropped does not matter. What refuses once is not tried again: the next one who asks
//! is told the same. A service is told apart by its type.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::rc::Rc;

use super::Unavailable;

/// The services of one run.
#[derive(Default)]
pub struct Services {
    started: HashMap<TypeId, Result<Rc<dyn Any>, Unavailable>>,
}

impl Services {
    /// The service of this type; made by `start` where there is none yet.
    ///
    /// # Errors
    /// What `start` said, now or when it was tried.
    pub fn get<S: Any>(
        &mut self,
        start: impl FnOnce(&mut Self) -> Result<S, Unavailable>,
    ) -> Result<Rc<S>, Unavailable> {
        let id = TypeId::of::<S>();
        if !self.started.contains_key(&id) {
            let started = start(self).map(|service| Rc::new(service) as Rc<dyn Any>);
            self.started.insert(id, started);
        }
        let service = match self.started.get(&id) {
            Some(Ok(service)) => Rc::clone(service),
            Some(Err(why)) => return Err(why.clone()),
            None => return Err(lost()),
        };
        service.downcast().map_err(|_| lost())
    }
}

/// Not reached: what was put there a moment ago is of the type that it is kept by.
fn lost() -> Unavailable {
    Unavailable {
        reason: "a service was lost".to_owned(),
        remedy: "report this as a bug".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_made_once_and_what_refuses_is_asked_once() {
        struct First(u32);
        struct Second;
        let mut services = Services::default();
        let first = services.get(|_| Ok(First(1))).unwrap();
        assert_eq!(services.get(|_| Ok(First(2))).unwrap().0, 1);
        let refusal = |reason: &str| Unavailable {
            reason: reason.to_owned(),
            remedy: String::new(),
        };
        for reason in ["once", "twice"] {
            let refused = services.get::<Second>(|_| Err(refusal(reason)));
            assert_eq!(refused.err().unwrap().reason, "once");
        }
        drop(services);
        assert_eq!((first.0, Rc::strong_count(&first)), (1, 1));
    }
}
