//! Which containerd and which dockerd: one whose socket the user names, one that `isobench engines up`
//! keeps, or one of this run's own.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use crate::backend::daemons::kept::{self, Kept, State};
use crate::backend::daemons::{self, Daemons, Facts, Program};
use crate::backend::services::Services;
use crate::backend::{Provided, Unavailable};

use super::{DaemonFacts, tail};

/// Where daemons come from; a service of the run.
pub struct Endpoints {
    provided: Provided,
    kept: Option<Kept>,
    own: RefCell<Option<Daemons>>,
}

/// One daemon.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its socket.
    pub socket: PathBuf,
    /// Who it is; `None`: whatever listens at a socket that the user has named.
    pub facts: Option<Facts>,
    /// Path of the group that containers' control groups belong into; `None`: where it likes.
    pub parent: Option<PathBuf>,
    /// Its log.
    log: Option<PathBuf>,
    /// Its folder.
    pub folder: Option<PathBuf>,
}

impl Endpoint {
    /// For the result.
    #[must_use]
    pub fn daemon(&self) -> Option<DaemonFacts> {
        let facts = self.facts.as_ref()?;
        Some(DaemonFacts {
            name: facts.name.clone(),
            version: facts.version.clone(),
            memory: facts.memory(),
        })
    }

    /// The end of its log, in one line.
    #[must_use]
    pub fn last_words(&self) -> String {
        let log = self.log.as_deref().map(daemons::last_words);
        log.map_or_else(String::new, |words| tail::one_line(words.as_bytes()))
    }

    fn given(socket: &Path) -> Result<Self, Unavailable> {
        if socket.to_string_lossy().contains("://") {
            return Err(Unavailable {
                reason: format!("{} is no Unix socket", socket.display()),
                remedy: "a daemon on this host: --docker-socket, or unset DOCKER_HOST".to_owned(),
            });
        }
        Ok(Self {
            socket: socket.to_path_buf(),
            facts: None,
            parent: None,
            log: None,
            folder: None,
        })
    }

    fn of(facts: &Facts, folder: &Path, name: &str) -> Self {
        Self {
            socket: facts.socket.clone(),
            log: Some(folder.join(format!("{}.log", facts.name))),
            facts: Some(facts.clone()),
            parent: daemons::parent(name),
            folder: Some(folder.to_path_buf()),
        }
    }
}

impl Endpoints {
    /// Looks at what there is; nothing is started.
    #[must_use]
    pub fn new(provided: &Provided) -> Self {
        let kept = match kept::state() {
            State::Up(kept) => Some(kept),
            State::Down | State::Remains(_) => None,
        };
        Self {
            provided: provided.clone(),
            kept,
            own: RefCell::new(None),
        }
    }

    /// The run's one.
    ///
    /// # Errors
    /// None of its own.
    pub fn of(
        provided: &Provided,
        services: &mut Services,
    ) -> Result<std::rc::Rc<Self>, Unavailable> {
        services.get(|_| Ok(Self::new(provided)))
    }

    /// containerd.
    ///
    /// # Errors
    /// There is none, and none can be started.
    pub fn containerd(&self) -> Result<Endpoint, Unavailable> {
        if let Some(socket) = &self.provided.containerd_socket {
            return Endpoint::given(socket);
        }
        self.kept("containerd")
            .map_or_else(|| self.own("containerd", Daemons::containerd), Ok)
    }

    /// dockerd.
    ///
    /// # Errors
    /// As [`Self::containerd`].
    pub fn dockerd(&self) -> Result<Endpoint, Unavailable> {
        if let Some(socket) = &self.provided.docker_socket {
            return Endpoint::given(socket);
        }
        self.kept("dockerd")
            .map_or_else(|| self.own("dockerd", Daemons::dockerd), Ok)
    }

    fn kept(&self, name: &str) -> Option<Endpoint> {
        let kept = self.kept.as_ref()?;
        let facts = kept.daemon(name)?;
        Some(Endpoint::of(facts, &kept.folder, daemons::KEPT))
    }

    fn own(
        &self,
        name: &str,
        start: impl FnOnce(&mut Daemons) -> Result<&daemons::Daemon, Unavailable>,
    ) -> Result<Endpoint, Unavailable> {
        let mut own = self.own.borrow_mut();
        let daemons = match own.take() {
            Some(daemons) => own.insert(daemons),
            None => {
                // What is there is said also where it cannot be used.
                let program = Program::of(name, daemons::remedy(name))?;
                let new = Daemons::new().map_err(|why| Unavailable {
                    reason: program.refused(&why.reason).reason,
                    ..why
                })?;
                own.insert(new)
            }
        };
        let facts = start(daemons)?.facts().clone();
        Ok(Endpoint::of(&facts, daemons.folder(), daemons.name()))
    }
}
