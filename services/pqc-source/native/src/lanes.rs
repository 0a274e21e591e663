//! Threads of their own for KEM operations, so that slow ones neither hold up
//! quick ones nor take Node's thread pool, which files and names need too.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

/// Jobs that may wait in one lane; each is a batch.
const MAX_WAITING: usize = 4096;

/// Classic McEliece keeps megabytes on the stack.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// Where an operation runs. Each lane has as many threads as the machine has
/// cores: the operating system shares these out between the lanes, and gives
/// the event loop and quicker lanes the first turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Microseconds.
    Light,
    /// Milliseconds.
    Medium,
    /// Tens of milliseconds and more.
    Heavy,
}

impl Lane {
    pub fn parse(name: &str) -> Option<Lane> {
        match name {
            "light" => Some(Lane::Light),
            "medium" => Some(Lane::Medium),
            "heavy" => Some(Lane::Heavy),
            _ => None,
        }
    }

    /// How much nicer than the process its threads are. The last is about a tenth of a full share.
    fn niceness(self) -> i32 {
        match self {
            Lane::Light => 3,
            Lane::Medium => 6,
            Lane::Heavy => 10,
        }
    }
}

struct Queue {
    jobs: Mutex<VecDeque<Job>>,
    ready: Condvar,
}

/// Too many jobs wait in that lane already.
#[derive(Debug)]
pub struct Full;

/// Runs `job` on a thread of `lane`. The job must not panic.
pub fn submit(lane: Lane, job: Job) -> Result<(), Full> {
    let queue = queue_of(lane);
    let mut jobs = lock(&queue.jobs);
    if jobs.len() >= MAX_WAITING {
        return Err(Full);
    }
    jobs.push_back(job);
    drop(jobs);
    queue.ready.notify_one();
    Ok(())
}

/// The threads of a lane start with its first job and live as long as the process.
fn queue_of(lane: Lane) -> &'static Queue {
    static QUEUES: [OnceLock<&'static Queue>; 3] = [OnceLock::new(), OnceLock::new(), OnceLock::new()];
    QUEUES[lane as usize].get_or_init(|| {
        let queue: &'static Queue = Box::leak(Box::new(Queue {
            jobs: Mutex::new(VecDeque::new()),
            ready: Condvar::new(),
        }));
        let threads = thread::available_parallelism().map_or(1, |n| n.get());
        for _ in 0..threads {
            thread::Builder::new()
                .name(format!("kem-{lane:?}").to_lowercase())
                .stack_size(STACK_BYTES)
                .spawn(move || work(lane, queue))
                .expect("a thread for KEM operations");
        }
        queue
    })
}

fn work(lane: Lane, queue: &Queue) {
    yield_by(lane.niceness());
    loop {
        let mut jobs = lock(&queue.jobs);
        let job = loop {
            match jobs.pop_front() {
                Some(job) => break job,
                None => jobs = queue.ready.wait(jobs).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(jobs);
        job();
    }
}

fn lock(jobs: &Mutex<VecDeque<Job>>) -> MutexGuard<'_, VecDeque<Job>> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner)
}

/// On Linux a niceness belongs to one thread; elsewhere it would be the whole process's, so it is left alone.
#[cfg(target_os = "linux")]
fn yield_by(niceness: i32) {
    // SAFETY: reads and changes the priority of the calling thread only; a refusal changes nothing.
    unsafe {
        let own = libc::getpriority(libc::PRIO_PROCESS, 0);
        libc::setpriority(libc::PRIO_PROCESS, 0, own + niceness);
    }
}

#[cfg(not(target_os = "linux"))]
fn yield_by(_niceness: i32) {}
