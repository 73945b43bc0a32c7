//! Images for containerd: an archive made in memory, imported once by `ctr`, which comes with containerd.

use std::io;
use std::process::Stdio;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::command::Patience;
use super::super::detect::Found;
use super::super::endpoint::Endpoint;
use super::super::image::layer;
use crate::backend::Unavailable;
use crate::backend::engine::CLEAN_UP;
use crate::backend::engine::workspace::Workspace;
use crate::trial::Failure;
use crate::workload::payload;

/// What to type where there is no `ctr`.
const REMEDY: &str = "apt-get install --no-install-recommends containerd";

/// An image that containerd has. Removed when dropped, unless the daemon goes as well.
pub struct Image {
    /// Its name.
    pub name: String,
    /// Its one layer's snapshot: what containers' snapshots are prepared from.
    pub chain: String,
    /// Digest of its configuration: under this name Kubernetes' plugin knows it, too.
    id: String,
    namespace: &'static str,
    ctr: Found,
    endpoint: Endpoint,
}

impl Image {
    /// Imports the payload as an image of this name, started with these arguments and environment where
    /// whoever starts it says nothing else.
    ///
    /// # Errors
    /// There is no `ctr`, or containerd refuses.
    pub fn import(
        endpoint: &Endpoint,
        namespace: &'static str,
        name: &str,
        (arguments, environment): (&[&str], &[&str]),
        workspace: &Workspace,
    ) -> Result<Self, Unavailable> {
        let ctr = Found::program("ctr", REMEDY)?;
        let refused = |why: String| ctr.unusable(&why, "see what it printed");
        let made = archive(name, arguments, environment);
        let (archive, chain, id) = made.map_err(|error| refused(error.to_string()))?;
        let path = workspace.path().join("image.tar");
        std::fs::write(&path, archive).map_err(|error| refused(error.to_string()))?;
        let image = Self {
            name: name.to_owned(),
            chain,
            id,
            namespace,
            endpoint: endpoint.clone(),
            ctr,
        };
        let imported = image.ctr(&["images", "import"], &[path.as_os_str()]);
        let _ = std::fs::remove_file(&path);
        match imported {
            Ok(()) => Ok(image),
            Err(failure) => Err(image
                .ctr
                .unusable(&failure.to_string(), "see what it printed")),
        }
    }

    fn ctr(&self, command: &[&str], more: &[&std::ffi::OsStr]) -> Result<(), Failure> {
        let patience = Patience::to_clean_up(CLEAN_UP);
        let command = self
            .ctr
            .command()
            .with(["--address"])
            .with([&self.endpoint.socket])
            .with(["--namespace", self.namespace])
            .with(command)
            .with(more);
        command.run_with(Stdio::null(), Stdio::null(), patience)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.endpoint.folder.is_some() {
            return;
        }
        let mut names: Vec<&std::ffi::OsStr> = vec![self.name.as_ref()];
        if self.namespace == super::super::cri::NAMESPACE {
            names.push(self.id.as_ref());
        }
        let removed = self.ctr(&["images", "remove", "--sync"], &names);
        if let Err(failure) = removed {
            tracing::warn!(%failure, image = self.name, "image left behind");
        }
    }
}

/// An OCI image layout in a tar archive, the digest of its layer and that of its configuration (OCI image
/// specification 1.0).
fn archive(
    name: &str,
    arguments: &[&str],
    environment: &[&str],
) -> io::Result<(Vec<u8>, String, String)> {
    let layer = layer(payload::BYTES)?;
    let chain = digest(&layer);
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Entrypoint": arguments, "Env": environment },
        "rootfs": { "type": "layers", "diff_ids": [&chain] },
    });
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let mut listed = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    listed["annotations"] = json!({ "io.containerd.image.name": name });
    let index = json!({ "schemaVersion": 2, "manifests": [listed] }).to_string();
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o444);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, path, bytes)
    };
    add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    add("index.json", index.as_bytes())?;
    for blob in [&layer, &config, &manifest] {
        add(&format!("blobs/sha256/{}", &digest(blob)[7..]), blob)?;
    }
    let id = digest(&config);
    Ok((builder.into_inner()?, chain, id))
}

fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": digest(bytes), "size": bytes.len() })
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
