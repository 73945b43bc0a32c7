//! What must be in the documents that `doctor` and `run` write inside.

use serde_json::Value;

use crate::steps::OLD_TIME;

/// What is worth saying of a document, or what is wrong with it.
pub type Takes = fn(&Value) -> Result<String, String>;

/// What the two kinds of machine have (`host.kvm`).
const SVM_KVM: &str = "hardware-svm";
const NO_KVM: &str = "absent";
/// How the names of backends begin that want it.
const NEED_KVM: [&str; 2] = ["microvm", "linux-vm"];

/// What a launch says that wants a namespace which the kernel has not.
const NO_NAMESPACE: &str = "clone3: Invalid argument";

/// `doctor`: the machine is what this bed is for, and every backend runs with all it can have.
pub fn everything_works(doctor: &Value) -> Result<String, String> {
    works_here(doctor, SVM_KVM)
}

/// `doctor`: all but what needs KVM, which is not there.
pub fn containers_work(doctor: &Value) -> Result<String, String> {
    works_here(doctor, NO_KVM)
}

fn works_here(doctor: &Value, kvm: &str) -> Result<String, String> {
    must_be(&doctor["clock_refused"], &Value::Null, "clock_refused")?;
    this_bed(&doctor["host"], kvm)?;
    let mut usable = Vec::new();
    for backend in backends(doctor)? {
        let id = backend["id"].as_str().unwrap_or_default();
        // Engines are programs, of which this bed has none.
        let reason = backend["reason"].as_str().unwrap_or_default();
        if reason.ends_with("is not on the path") {
            continue;
        }
        if kvm == NO_KVM && NEED_KVM.iter().any(|kind| id.starts_with(kind)) {
            must_be(&backend["usable"], &false.into(), &format!("{id}: usable"))?;
            continue;
        }
        must_be(&backend["usable"], &true.into(), &format!("{id}: usable"))?;
        let none = Value::Array(Vec::new());
        must_be(
            &backend["limitations"],
            &none,
            &format!("{id}: limitations"),
        )?;
        usable.push(id);
    }
    let cgroup = &doctor["host"]["cgroup"];
    Ok(format!(
        "kvm {kvm}, cgroup {cgroup}, usable: {}",
        usable.join(", ")
    ))
}

/// `run` with a kernel: it gave a number, and the document says which kernel it was.
pub fn kernel_measured(run: &Value) -> Result<String, String> {
    this_bed(&run["host"], SVM_KVM)?;
    let vm = &run["backends"][1];
    must_be(&vm["id"], &"linux-vm:keep=console".into(), "second backend")?;
    must_be(&vm["status"], &"measured".into(), "linux-vm: status")?;
    must_be(&vm["failures"], &0.into(), "linux-vm: failures")?;
    let kernel = &vm["guest_kernel"];
    let digest = kernel["sha256"].as_str().unwrap_or_default();
    match kernel["version"].as_str() {
        Some(version) if digest.len() == 64 => Ok(format!("guest kernel {version}")),
        _ => Err(format!("guest_kernel: {kernel}")),
    }
}

/// `run`: every backend gave a number for everything, but for a time namespace where there is none.
pub fn all_measured(run: &Value) -> Result<String, String> {
    measured_here(run, SVM_KVM)
}

/// The same without KVM.
pub fn containers_measured(run: &Value) -> Result<String, String> {
    measured_here(run, NO_KVM)
}

fn measured_here(run: &Value, kvm: &str) -> Result<String, String> {
    this_bed(&run["host"], kvm)?;
    must_be(&run["complete"], &true.into(), "complete")?;
    let mut measured = 0;
    let mut skipped = Vec::new();
    for backend in backends(run)? {
        let id = backend["id"].as_str().unwrap_or_default();
        let reason = backend["reason"].as_str().unwrap_or_default();
        let no_time = id.contains("time") && reason.contains(NO_NAMESPACE);
        if backend["status"] == "skipped" && (no_time || reason.contains(OLD_TIME)) {
            skipped.push(format!("{id} ({reason})"));
            continue;
        }
        let status = format!("{id}: status ({reason})");
        must_be(&backend["status"], &"measured".into(), &status)?;
        must_be(&backend["failures"], &0.into(), &format!("{id}: failures"))?;
        measured += 1;
    }
    let skipped = match skipped[..] {
        [] => String::new(),
        _ => format!(", without {}", skipped.join(", ")),
    };
    Ok(format!("{measured} configurations measured{skipped}"))
}

fn this_bed(host: &Value, kvm: &str) -> Result<(), String> {
    must_be(&host["kvm"], &kvm.into(), "kvm")?;
    must_be(&host["cgroup"], &"v2".into(), "cgroup")
}

/// The three default ones.
fn backends(document: &Value) -> Result<&Vec<Value>, String> {
    let all = document["backends"].as_array();
    all.filter(|all| all.len() >= 3)
        .ok_or_else(|| format!("backends: {}", document["backends"]))
}

fn must_be(found: &Value, wanted: &Value, field: &str) -> Result<(), String> {
    if found == wanted {
        Ok(())
    } else {
        Err(format!("{field} is {found} instead of {wanted}"))
    }
}
