//! Images for containerd: an archive made in memory, imported once by `ctr`, which comes with containerd.

use std::ffi::OsStr;
use std::io;
use std::process::Stdio;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::command::{Invocation, Patience};
use super::super::detect::Found;
use super::super::endpoint::Endpoint;
use super::super::image::layer;
use crate::backend::Unavailable;
use crate::backend::engine::CLEAN_UP;
use crate::backend::engine::workspace::Workspace;
use crate::trial::Failure;
use crate::workload::payload;

/// What the payload's images are called.
const REPOSITORY: &str = "isobench.invalid/payload";
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
    /// Imports the payload as an image of this harness's own: two at one daemon have two. Those of harnesses
    /// that were killed are removed.
    ///
    /// # Errors
    /// As [`Self::import`].
    pub fn own(
        endpoint: &Endpoint,
        namespace: &'static str,
        workspace: &Workspace,
    ) -> Result<Self, Unavailable> {
        let name = format!("{REPOSITORY}:{}", workspace.new_name());
        let image = Self::import(endpoint, namespace, &name, (&["/payload"], &[]), workspace)?;
        image.sweep(workspace);
        Ok(image)
    }

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

    fn command(&self, command: &[&str]) -> Invocation {
        self.ctr
            .command()
            .with(["--address"])
            .with([&self.endpoint.socket])
            .with(["--namespace", self.namespace])
            .with(command)
    }

    fn ctr(&self, command: &[&str], more: &[&OsStr]) -> Result<(), Failure> {
        let patience = Patience::to_clean_up(CLEAN_UP);
        let command = self.command(command).with(more);
        command.run_with(Stdio::null(), Stdio::null(), patience)
    }

    fn sweep(&self, workspace: &Workspace) {
        let listed = self.command(&["images", "list"]);
        let left = match listed.run(Patience::to_clean_up(CLEAN_UP)) {
            Ok(table) => left(&String::from_utf8_lossy(&table), |tag| {
                workspace.is_left(tag)
            }),
            Err(failure) => return tracing::warn!(%failure, "images not listed"),
        };
        if !left.is_empty() {
            self.remove(&left.iter().map(OsStr::new).collect::<Vec<_>>());
        }
    }

    fn remove(&self, names: &[&OsStr]) {
        if let Err(failure) = self.ctr(&["images", "remove", "--sync"], names) {
            tracing::warn!(%failure, ?names, "images left behind");
        }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.endpoint.folder.is_some() {
            return;
        }
        let mut names: Vec<&OsStr> = vec![self.name.as_ref()];
        if self.namespace == super::super::cri::NAMESPACE {
            names.push(self.id.as_ref());
        }
        self.remove(&names);
    }
}

/// Of a table that `ctr images list` prints (name, type, digest, …), the names that stand for images whose
/// tag is wanted: Kubernetes' plugin gives each a second name.
fn left(table: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let rows: Vec<(&str, &str)> = table
        .lines()
        .filter_map(|line| {
            let mut columns = line.split_whitespace();
            Some((columns.next()?, columns.nth(1)?))
        })
        .collect();
    let tag = |name: &str| Some(name.strip_prefix(REPOSITORY)?.strip_prefix(':')?.to_owned());
    let left: Vec<&str> = rows
        .iter()
        .filter(|(name, _)| tag(name).is_some_and(|tag| wanted(&tag)))
        .map(|(_, digest)| *digest)
        .collect();
    rows.iter()
        .filter(|(_, digest)| left.contains(digest))
        .map(|(name, _)| (*name).to_owned())
        .collect()
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
        // So that no two images are one to a daemon that goes by the digest.
        "config": { "Entrypoint": arguments, "Env": environment, "Labels": { "isobench": name } },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_harness_left_is_found_under_both_its_names() {
        let table = "\
REF                          TYPE                DIGEST       SIZE    PLATFORMS   LABELS
isobench.invalid/payload:old application/vnd.oci sha256:aaaa  1.0 MiB linux/amd64 -
isobench.invalid/payload:new application/vnd.oci sha256:bbbb  1.0 MiB linux/amd64 -
sha256:1111                  application/vnd.oci sha256:aaaa  1.0 MiB linux/amd64 -
sha256:2222                  application/vnd.oci sha256:bbbb  1.0 MiB linux/amd64 -
somebody.example/old:old     application/vnd.oci sha256:cccc  1.0 MiB linux/amd64 -
";
        let found = left(table, |tag| tag == "old");
        assert_eq!(found, ["isobench.invalid/payload:old", "sha256:1111"]);
        assert!(left("", |_| true).is_empty());
    }
}
