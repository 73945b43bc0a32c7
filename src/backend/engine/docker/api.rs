//! What dockerd is asked for.

use std::cell::Cell;
use std::rc::Rc;

use serde_json::{Value, json};

use isobench_guardian::MARK;

use super::super::command::Patience;
use super::super::endpoint::{Endpoint, Endpoints};
use super::super::http::{Body, Connection, NoAnswer};
use super::super::image;
use super::super::tail::brief;
use super::super::workspace::Workspace;
use crate::backend::child::Deadline;
use crate::backend::container::{PAYLOAD_ID, memory_limit};
use crate::backend::engine::kind::EngineNetwork;
use crate::backend::engine::{CLEAN_UP, DaemonFacts, Order};
use crate::backend::services::Services;
use crate::backend::{Provided, Unavailable};
use crate::trial::{EngineEnd, Failure};
use crate::workload::payload;

/// Name of the image's repository; the tag says whose it is: two harnesses at one daemon have two.
const REPOSITORY: &str = "isobench-payload";
/// Tasks that a container may have, as `container`'s.
pub const TASKS: u32 = 16;

/// dockerd with the payload's image: a service of the run.
pub struct Docker {
    /// The daemon.
    pub endpoint: Endpoint,
    /// What it says its version is.
    pub version: String,
    /// The release of the kernel that it says it runs on.
    pub kernel: Option<String>,
    /// Whether a request for its events had no answer: then there is none any more.
    pub mute: Cell<bool>,
    /// The image.
    pub image: String,
    /// Where the daemon comes from: it lives as long as this.
    endpoints: Rc<Endpoints>,
}

impl Docker {
    /// Finds or starts the daemon and gives it the image.
    ///
    /// # Errors
    /// There is none, or it refuses.
    pub fn open(provided: &Provided, services: &mut Services) -> Result<Self, Unavailable> {
        let endpoints = Endpoints::of(provided, services)?;
        let endpoint = endpoints.dockerd()?;
        let workspace = services.get(Workspace::new)?;
        let tag = workspace.new_name();
        let mut docker = Self {
            image: format!("{REPOSITORY}:{tag}"),
            version: String::new(),
            kernel: None,
            mute: Cell::new(false),
            endpoint,
            endpoints,
        };
        let refused = |failure: Failure| Unavailable {
            reason: format!("dockerd: {failure}"),
            remedy: "see what it says; DOCKER_HOST and --docker-socket name another one".to_owned(),
        };
        docker.ask_version().map_err(refused)?;
        docker.sweep(&workspace);
        docker.load(&tag).map_err(refused)?;
        Ok(docker)
    }

    /// dockerd, and the containerd behind it, where that is ours.
    pub fn daemons(&self) -> Vec<DaemonFacts> {
        let behind = self.endpoint.folder.as_ref();
        let behind = behind.and_then(|_| self.endpoints.containerd().ok());
        let all = [behind.as_ref(), Some(&self.endpoint)]
            .into_iter()
            .flatten();
        all.filter_map(Endpoint::daemon).collect()
    }

    fn ask_version(&mut self) -> Result<(), Failure> {
        let answer = self.ask("GET", "/version", Body::None, self.patience())?;
        let answer = answer.json().map_err(|e| self.failure("/version", e))?;
        self.version = brief(answer["Version"].as_str().unwrap_or("unknown"));
        self.kernel = answer["KernelVersion"].as_str().map(brief);
        Ok(())
    }

    /// Removes the images of harnesses that were killed.
    fn sweep(&self, workspace: &Workspace) {
        let filters = filters(&json!({ "reference": [REPOSITORY] }));
        let path = format!("/images/json?{filters}");
        let answer = self.ask("GET", &path, Body::None, self.patience());
        let listed = answer.and_then(|a| a.json().map_err(|e| self.failure(&path, e)));
        let images = match listed {
            Ok(images) => images,
            Err(failure) => return tracing::warn!(%failure, "images not listed"),
        };
        let images = images.as_array().into_iter().flatten();
        let tags = images.flat_map(|image| image["RepoTags"].as_array().into_iter().flatten());
        for image in tags.filter_map(Value::as_str) {
            let (repository, tag) = image.rsplit_once(':').unwrap_or_default();
            // Its filter is not taken on trust.
            if repository == REPOSITORY && workspace.is_left(tag) {
                self.remove(image);
            }
        }
    }

    fn remove(&self, image: &str) {
        let path = format!("/images/{image}");
        let patience = Patience::to_clean_up(CLEAN_UP);
        let removed = match self.ask("DELETE", &path, Body::None, patience) {
            // Another harness has swept it.
            Ok(answer) if answer.status == 404 => return,
            Ok(answer) => answer.success().map_err(|e| self.failure(&path, e)),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = removed {
            tracing::warn!(%failure, image, "image left behind");
        }
    }

    fn load(&self, tag: &str) -> Result<(), Failure> {
        let layer = image::layer(payload::BYTES);
        let layer = layer.map_err(|error| Failure::setup("image", error))?;
        let path = format!("/images/create?fromSrc=-&repo={REPOSITORY}&tag={tag}");
        let answer = self.ask("POST", &path, Body::Tar(&layer), self.patience())?;
        let body = answer.success().map_err(|e| self.failure(&path, e))?;
        // Progress and errors are lines of JSON behind a status that is always good.
        let text = String::from_utf8_lossy(&body);
        let error = text.lines().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            Some(brief(line["error"].as_str()?))
        });
        match error {
            None => Ok(()),
            Some(why) => Err(self.failure(&path, NoAnswer::Engine(EngineEnd::Refused(why)))),
        }
    }

    /// For what is part of no trial.
    fn patience(&self) -> Patience {
        Patience::until(Deadline::after(CLEAN_UP))
    }

    /// Asks on a connection of its own.
    ///
    /// # Errors
    /// No answer comes.
    pub fn ask(
        &self,
        method: &str,
        path: &str,
        body: Body<'_>,
        patience: Patience,
    ) -> Result<super::super::http::Answer, Failure> {
        let asked = Connection::open(&self.endpoint.socket)
            .map_err(NoAnswer::from)
            .and_then(|mut connection| connection.ask(method, path, body, patience));
        asked.map_err(|why| self.failure(path, why))
    }

    /// What came of a request, with what the daemon logged last.
    pub fn failure(&self, request: &str, why: NoAnswer) -> Failure {
        let request = request.split('?').next().unwrap_or(request);
        why.failure(format!("dockerd {request}"), self.endpoint.last_words())
    }

    /// The process of a container, while it runs.
    ///
    /// # Errors
    /// The daemon does not say.
    pub fn process(&self, container: &str) -> Result<u32, Failure> {
        let path = format!("/containers/{container}/json");
        let answer = self.ask("GET", &path, Body::None, self.patience())?;
        let answer = answer.json().map_err(|e| self.failure(&path, e))?;
        let pid = answer["State"]["Pid"].as_u64().unwrap_or(0);
        match u32::try_from(pid) {
            Ok(pid @ 1..) => Ok(pid),
            _ => Err(Failure::setup(
                "inspect",
                std::io::Error::other("the container has no process"),
            )),
        }
    }

    /// Path of the group that containers' groups are put into.
    pub fn parent(&self) -> Option<String> {
        let parent = self.endpoint.parent.as_ref()?;
        Some(parent.display().to_string())
    }

    /// What a container is made with.
    pub fn container(&self, order: &Order<'_>, network: EngineNetwork) -> String {
        let task = &order.launch.task;
        let mut host = json!({
            "NetworkMode": mode(network),
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "ReadonlyRootfs": true,
            "Memory": memory_limit(task).0,
            "PidsLimit": TASKS,
            "CgroupnsMode": "private",
        });
        if let Some(parent) = self.parent() {
            host["CgroupParent"] = parent.into();
        }
        json!({
            "Image": self.image,
            "Cmd": task.argv(),
            "Env": [format!("{MARK}={}", order.name)],
            "User": format!("{PAYLOAD_ID}:{PAYLOAD_ID}"),
            "Hostname": "isobench",
            "Labels": { "isobench": order.name },
            "AttachStdin": order.hold,
            "AttachStdout": true,
            "OpenStdin": order.hold,
            "StdinOnce": order.hold,
            "HostConfig": host,
        })
        .to_string()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // A daemon of our own goes with all it has.
        if self.endpoint.folder.is_none() {
            self.remove(&self.image);
        }
    }
}

/// As a parameter of a request.
pub fn filters(all: &Value) -> String {
    let escape = |c: char| match c {
        '{' => "%7B".to_owned(),
        '}' => "%7D".to_owned(),
        '"' => "%22".to_owned(),
        c => c.to_string(),
    };
    let escaped: String = all.to_string().chars().map(escape).collect();
    format!("filters={escaped}")
}

/// As `--network` takes it.
pub const fn mode(network: EngineNetwork) -> &'static str {
    match network {
        EngineNetwork::None => "none",
        EngineNetwork::Bridge => "bridge",
    }
}
