//! A guest on a busy node: work that takes what nobody else wants.

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// Blobs worked on at the same time. Each has threads that inflate, hash and write.
const BLOBS_AT_ONCE: usize = 2;

/// Puts this thread, and all that it starts from here on, behind everybody else's: `SCHED_IDLE`. For the
/// disk the kernel takes such a thread for one of the idle class by itself, where its scheduler has
/// classes (ioprio_set(2)).
pub(super) fn enter() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let entered = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
    if let Err(error) = entered {
        // Whoever runs this in a strange sandbox still gets the image.
        tracing::warn!("--background: the priority stays as it is: {error:?}");
    }
}

/// Blobs worked on at the same time where `wanted` were.
pub(super) fn blobs_at_once(is_background: bool, wanted: usize) -> usize {
    if is_background { wanted.min(BLOBS_AT_ONCE) } else { wanted }
}
