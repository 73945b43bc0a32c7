//! Builds the payload (guests/payload) with this toolchain for this host, and hands its path and
//! SHA-256 to the library.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

use sha2::{Digest, Sha256};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=guests");
    let out = PathBuf::from(variable("OUT_DIR"));
    let payload = build_payload(&out);
    let bytes = match fs::read(&payload) {
        Ok(bytes) => bytes,
        Err(error) => fail(&format!("cannot read {}: {error}", payload.display())),
    };
    let digest: String = Sha256::digest(&bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    println!("cargo::rustc-env=ISOBENCH_PAYLOAD={}", payload.display());
    println!("cargo::rustc-env=ISOBENCH_PAYLOAD_SHA256={digest}");
    println!("cargo::rustc-env=ISOBENCH_COMMIT={}", commit());
}

fn build_payload(out: &Path) -> PathBuf {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let target = variable("TARGET");
    if target != "x86_64-unknown-linux-gnu" && target != "x86_64-unknown-linux-musl" {
        fail(&format!(
            "isobench measures x86-64 Linux; this build is for {target}"
        ));
    }
    let manifest = root.join("guests/payload/Cargo.toml");
    let target_dir = out.join("payload");
    // `--target` keeps these flags away from build scripts; the variables removed are those of the
    // outer build that would change or instrument the payload.
    let status = Command::new(variable("CARGO"))
        .args(["build", "--release", "--target", &target, "--manifest-path"])
        .arg(&manifest)
        .arg("--target-dir")
        .arg(&target_dir)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("CARGO_BUILD_RUSTFLAGS")
        .env(
            "RUSTFLAGS",
            format!(
                "-C relocation-model=static -C target-cpu=x86-64 -C link-arg=-nostartfiles \
                 -C link-arg=-nostdlib -C link-arg=-static -C link-arg=-no-pie \
                 -C link-arg=-Wl,--build-id=none -C link-arg=-Wl,-z,noexecstack \
                 -C link-arg=-Wl,-z,max-page-size=4096 -C link-arg=-Wl,-T,{root}/guests/payload/payload.ld \
                 --remap-path-prefix={root}=isobench",
                root = root.display()
            ),
        )
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!("building the payload ended with {status}")),
        Err(error) => fail(&format!("cannot run cargo for the payload: {error}")),
    }
    target_dir.join(&target).join("release/isobench-payload")
}

/// Commit of the tree this is built from, `-dirty` if it differs; "unknown" outside a repository.
fn commit() -> String {
    println!("cargo::rerun-if-changed=.git/HEAD");
    println!("cargo::rerun-if-changed=.git/index");
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

fn variable(name: &str) -> String {
    match env::var(name) {
        Ok(value) => value,
        Err(error) => fail(&format!("cargo did not set {name}: {error}")),
    }
}

fn fail(why: &str) -> ! {
    println!("cargo::error={why}");
    exit(1)
}
