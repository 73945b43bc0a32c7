//! A private containerd.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::home::Home;
use super::launch::{self, Daemon, Order};
use super::program::Program;
use crate::backend::Unavailable;

/// What to type where there is none.
pub const REMEDY: &str = "apt-get install --no-install-recommends containerd";
/// The image whose process holds a pod's namespaces; made from the payload.
pub const PAUSE_IMAGE: &str = "isobench.invalid/pause:1";

pub(super) fn start(home: &Home) -> Result<Daemon, Unavailable> {
    let program = Program::of("containerd", REMEDY)?;
    let config = home.file("containerd.toml");
    fs::write(&config, configuration(home.folder())).map_err(launch::cannot_write(&config))?;
    launch::start(
        home,
        Order {
            name: "containerd",
            program,
            arguments: vec!["--config".to_owned(), config.display().to_string()],
            socket: home.file("containerd.sock"),
            // It listens once its plugins are loaded.
            ready: |socket| UnixStream::connect(socket).map(drop),
            beside: None,
            remedy: REMEDY,
        },
    )
}

/// Version 2 of the file is understood by containerd 1.3 to 2.x.
fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    // Debug formatting of a path without control characters is a basic string of TOML.
    let path = |name: &str| format!("{:?}", format!("{folder}/{name}"));
    format!(
        r#"version = 2
root = {root}
state = {state}

[grpc]
  address = {socket}

[ttrpc]
  address = {ttrpc}

[plugins."io.containerd.internal.v1.opt"]
  path = {opt}

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {PAUSE_IMAGE:?}
  restrict_oom_score_adj = {restrict}
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {cni}
    conf_dir = {net}
"#,
        // A lower score than one's own, which a pod's first process gets, takes this capability.
        restrict = !caps::has_cap(
            None,
            caps::CapSet::Effective,
            caps::Capability::CAP_SYS_RESOURCE
        )
        .unwrap_or(false),
        root = path("containerd/root"),
        state = path("containerd/state"),
        socket = path("containerd.sock"),
        ttrpc = path("containerd.sock.ttrpc"),
        opt = path("containerd/opt"),
        cni = path("containerd/cni/bin"),
        net = path("containerd/cni/net.d"),
    )
}
