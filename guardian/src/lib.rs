//! What a harness that was killed leaves behind, and how it is removed.
//!
//! Processes, mounts and namespaces of an instance go with the harness: the payload dies with the
//! thread that launched it (PR_SET_PDEATHSIG(2const)), and what only it used goes with it. Four
//! things do not: control groups, network interfaces in the harness's own network namespace, folders
//! with what an engine has mounted there, and the processes that engines detach from whoever called
//! them. Each of these carries a name that says whose it is ([`Owner`]), from the moment it
//! exists, and is made only at a [`Place`] that the guardian was told of before.
//!
//! ```text
//!   harness ── "groups /sys/fs/cgroup/…" ──► pipe ──► guardian: a process of its own
//!      ✗ SIGKILL                              end of file: the harness is dead
//!                                             sweeps its places of what it owned, and ends
//! ```
//! Nobody else may have the pipe's write end. If the guardian was killed as well, the next harness
//! sweeps the places that it uses itself of what dead harnesses owned.
//!
//! The library is used by the harness, the program by nobody but the harness, which embeds it.

mod group;
mod kernel;
mod link;
mod owner;
mod place;
mod proc;

pub use group::remove as remove_group;
pub use kernel::{fork, ignore_signals};
pub use link::delete as remove_link;
pub use owner::{Harness, Owner};
pub use place::{Place, Swept, remove_folder};
pub use proc::{MARK, end_marked, marked};
