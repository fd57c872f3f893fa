//! What processes cost, as the kernel counts it.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// `USER_HZ`, which is the same on every architecture that containerd is built for.
const TICKS_PER_SECOND: u32 = 100;

/// The file of what a command prints, in its home.
const PRINTED: &str = "printed";

/// A daemon, by its process id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    /// Processor time of it and of the children that it waited for. Counted in ticks of 10 ms.
    pub(crate) fn cpu(self) -> Duration {
        let stat = self.read("stat");
        // The name, in parentheses, may hold anything; the fields after it are numbers but one.
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
        // utime, stime, cutime and cstime are fields 14 to 17 of proc(5), the state being field 3.
        let ticks: u64 =
            fields.split_whitespace().skip(11).take(4).filter_map(|f| f.parse::<u64>().ok()).sum();
        Duration::from_secs(ticks) / TICKS_PER_SECOND
    }

    /// Peak resident set size since [`Process::forget_peak`], in bytes.
    pub(crate) fn peak_bytes(self) -> u64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        let kibibytes =
            line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
        kibibytes.unwrap_or(0) * 1024
    }

    /// Lets the peak begin at what is resident now.
    pub(crate) fn forget_peak(self) -> io::Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.0), "5")
    }

    fn read(self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.0)).unwrap_or_default()
    }
}

/// Share of all processors' time that was used during one second.
pub(crate) fn machine_busy_percent() -> f64 {
    let before = Ticks::now();
    std::thread::sleep(Duration::from_secs(1));
    100.0 - before.percent_since(|ticks| ticks.idle)
}

/// Time of all processors together since the machine's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticks {
    idle: u64,
    stolen: u64,
    all: u64,
}

impl Ticks {
    pub(crate) fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let line = stat.lines().next().unwrap_or_default();
        let fields: Vec<u64> =
            line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal and more, by proc(5); waiting for the
        // disk is idle as well, and the last two are counted in the first two already.
        Self {
            idle: fields.iter().skip(3).take(2).sum(),
            stolen: fields.get(7).copied().unwrap_or(0),
            all: fields.iter().take(8).sum(),
        }
    }

    /// Share that other tenants of the hardware have had since then.
    pub(crate) fn stolen_percent(self) -> f64 {
        self.percent_since(|ticks| ticks.stolen)
    }

    fn percent_since(self, part: impl Fn(&Self) -> u64) -> f64 {
        let now = Self::now();
        let passed = now.all.saturating_sub(self.all).max(1) as f64;
        100.0 * part(&now).saturating_sub(part(&self)) as f64 / passed
    }
}

/// A command's costs, children included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Costs {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    pub(crate) peak_bytes: u64,
}

/// What the last command printed that was run with this home.
pub(crate) fn printed(home: &Path) -> String {
    fs::read_to_string(home.join(PRINTED)).unwrap_or_default()
}

/// Runs `command` (a program and its arguments) to its end in an environment of its own, whose
/// home is `home`.
///
/// # Errors
/// What the command printed, if it fails.
pub(crate) fn run(command: &[String], home: &Path) -> Result<Costs, String> {
    let report = home.join("costs");
    let printed = home.join(PRINTED);
    let output = fs::File::create(&printed).map_err(|error| error.to_string())?;
    let errors = output.try_clone().map_err(|error| error.to_string())?;
    let mut timed = Command::new("/usr/bin/time");
    timed
        .args(["-q", "-f", "%U %S %M", "-o"])
        .arg(&report)
        .args(command)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", home)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    let started = Instant::now();
    let status = timed.status().map_err(|error| format!("time: {error}"))?;
    let wall = started.elapsed();
    if !status.success() {
        let said = self::printed(home);
        return Err(format!("{}: {status}\n{said}", command.join(" ")));
    }
    let report = fs::read_to_string(&report).unwrap_or_default();
    let numbers: Vec<f64> =
        report.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let [user, system, kibibytes] = numbers[..] else {
        return Err(format!("GNU time reports {report:?}"));
    };
    Ok(Costs {
        wall,
        cpu: Duration::from_secs_f64(user + system),
        peak_bytes: kibibytes as u64 * 1024,
    })
}
