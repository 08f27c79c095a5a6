//! The lab as its users see it.

use std::sync::Arc;
use std::time::Duration;

use crate::condition::Until;
use crate::driver::{self, DriverInfo, LoadError, UnloadError, UnloadReport};
use crate::export;
use crate::fwp::RegisteredCallout;
use crate::fwp::injection::Sent;
use crate::image::{Image, ImageError};
use crate::inject::{Call, Fault};
use crate::kernel::{Config, Kernel, lock};
use crate::nt::NtStatus;
use crate::ntos::io::File;
use crate::ntos::registry::Parameter;
use crate::ntos::security::User;
use crate::report::{self, Violation};
use crate::schedule;
use crate::thread;
use crate::trace::TracedCall;

/// A kernel that runs driver images: a cheap handle, to be cloned and sent about.
#[derive(Clone)]
pub struct Lab {
    pub(crate) kernel: Arc<Kernel>,
    /// Ends the lab's threads with the last handle to it.
    _end: Arc<End>,
}

struct End(Arc<Kernel>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Lab {
    pub fn start(config: Config) -> Lab {
        Lab::start_with(config, None)
    }

    /// With a seed, that schedules the lab's threads.
    pub(crate) fn start_with(config: Config, seed: Option<u64>) -> Lab {
        let kernel = Kernel::new(config, seed);
        Lab { _end: Arc::new(End(kernel.clone())), kernel }
    }

    /// Runs `body` as a thread of this kernel, as every call into an image must.
    pub fn enter<R>(&self, body: impl FnOnce() -> R) -> R {
        thread::enter(&self.kernel, body)
    }

    /// Loads a driver image under a service name and calls its `DriverEntry`.
    pub fn load(&self, service: &str, image: &[u8]) -> Result<DriverInfo, LoadError> {
        self.enter(|| driver::load(&self.kernel, service, image))
    }

    /// Maps an image, resolves its imports and lets it go again, without calling its `DriverEntry`.
    pub fn check_image(&self, image: &[u8]) -> Result<(), ImageError> {
        Image::load("check", image, &self.kernel.clock, false).map(drop)
    }

    /// Unloads a driver. With handles open to its devices, that happens when the last is closed.
    pub fn unload(&self, service: &str) -> Result<UnloadReport, UnloadError> {
        schedule::begins("an unload");
        self.enter(|| driver::unload(&self.kernel, service))
    }

    /// The report of an unload that was deferred to the last handle's close, once it has run.
    pub fn take_deferred_unload(&self) -> Option<UnloadReport> {
        lock(&self.kernel.last_unload).take()
    }

    pub fn drivers(&self) -> Vec<DriverInfo> {
        self.enter(|| self.kernel.drivers.all())
    }

    /// Opens a device by its path, such as `\\.\Postern`, as an administrator.
    pub fn open(&self, path: &str) -> Result<File, NtStatus> {
        self.open_as(User::Administrator, path)
    }

    /// Opens a device for reading and writing.
    pub fn open_as(&self, user: User, path: &str) -> Result<File, NtStatus> {
        schedule::begins("the opening of a device");
        File::open(&self.kernel, user, path)
    }

    /// What drivers did wrong so far.
    pub fn violations(&self) -> Vec<Violation> {
        self.kernel.reports.violations()
    }

    /// How many violations have occurred, repetitions among them.
    pub fn violations_occurred(&self) -> u64 {
        self.kernel.reports.occurred()
    }

    /// What drivers did wrong, for the first time or again, after so many violations had occurred.
    pub fn violations_since(&self, occurred: u64) -> Vec<Violation> {
        self.kernel.reports.since(occurred)
    }

    /// What drivers printed with `DbgPrint` and its kin, by lines; the last 10,000 are kept.
    pub fn debug_log(&self) -> Vec<String> {
        self.kernel.reports.log()
    }

    /// The texts that drivers wrote as ETW events; the last 10,000 are kept.
    pub fn events(&self) -> Vec<String> {
        self.kernel.reports.events()
    }

    /// Whether there is a function of this name, in a kernel module or in KMDF, that can be made to fail.
    pub fn has_function(&self, name: &str) -> bool {
        export::all().has_function(name)
    }

    /// Makes a kernel function fail.
    pub fn inject_fault(&self, fault: Fault) {
        self.kernel.injections.add(fault);
    }

    /// Makes the next call of a kernel function that can fail take some time, by the lab's clock.
    pub fn delay_call(&self, function: &str, time: Duration) {
        self.kernel.injections.delay(function.into(), time);
    }

    /// Takes back every injected fault and every delay that has not happened yet.
    pub fn clear_faults(&self) {
        self.kernel.injections.clear();
    }

    /// How many injected faults have yet to happen.
    pub fn faults_left(&self) -> usize {
        self.kernel.injections.left()
    }

    /// What images have sent by injection since this was last asked: the last thousand packets that nothing blocked.
    pub fn take_sent(&self) -> Vec<Sent> {
        self.kernel.fwp.injection.take_sent()
    }

    /// How many allocations there are in the pool: those of drivers, and what the lab has made for them.
    pub fn allocations(&self) -> usize {
        self.kernel.pool.live()
    }

    /// Records, from now on, the calls by images of functions that can fail.
    pub fn record_calls(&self) {
        self.kernel.injections.record();
    }

    /// The calls that were recorded since the last time this was asked.
    pub fn take_calls(&self) -> Vec<Call> {
        self.kernel.injections.take_calls()
    }

    /// Records, from now on, every call that an image makes.
    pub fn trace_calls(&self) {
        self.kernel.traces.start();
    }

    /// The calls that were recorded since the last time this was asked.
    pub fn take_trace(&self) -> Vec<TracedCall> {
        self.kernel.traces.take()
    }

    /// Has something happen on the unloading thread, right before the call with this number (1 is the first) that a `DriverUnload`
    /// makes at `PASSIVE_LEVEL` without a lock: it may have other threads do something, and wait for them. Calls are recorded.
    pub fn at_unload_call(&self, number: u64, what: impl FnOnce() + Send + 'static) {
        self.kernel.traces.interject(number, Box::new(what));
    }

    /// Has something happen on the thread of a classifyFn, right before its next call of a function: it may wait for other threads. Calls
    /// are recorded.
    pub fn at_classify_call(&self, function: &'static str, what: impl FnOnce() + Send + 'static) {
        self.kernel.traces.interject_in_classify(function, Box::new(what));
    }

    /// Has every work item that is queued from now on stay so for a while, as on a busy system.
    pub fn delay_work(&self, delay: Duration) {
        self.kernel.workers.delay(delay);
    }

    /// Sets a value of a driver's `Parameters` key, which it finds when it is loaded.
    pub fn set_parameter(&self, service: &str, name: &str, value: &Parameter) {
        self.enter(|| self.kernel.registry.set_parameter(service, name, value));
    }

    /// The callouts that a driver has registered.
    pub fn registered_callouts(&self, service: &str) -> Vec<RegisteredCallout> {
        self.enter(|| match self.kernel.drivers.number_of(service) {
            Some(image) => self.kernel.fwp.registered(image),
            None => Vec::new(),
        })
    }

    /// Paths under which programs open the devices of a driver.
    pub fn device_paths(&self, service: &str) -> Vec<String> {
        self.enter(|| match self.kernel.drivers.number_of(service) {
            Some(image) => self.kernel.io.paths(image),
            None => Vec::new(),
        })
    }

    /// Keeps threads that drivers have created in their waits, but for the time that another thread waits for something too; or lets
    /// them go on. What they are woken for several times meanwhile, they see at once; so what they do does not depend on how fast they
    /// are.
    pub fn pause_threads(&self, paused: bool) {
        self.kernel.dispatcher.pause(paused);
    }

    /// Waits until nothing more happens on its own: no work item, no DPC, no injected packet, no operation to be classified again, and
    /// drivers' threads wait for something. Returns whether that was so in time.
    pub fn settle(&self, at_most: Duration) -> bool {
        let kernel = &self.kernel;
        let deadline = kernel.clock.now() + at_most;
        let is_idle = || {
            kernel.workers.is_idle()
                && kernel.timers.is_idle(kernel.clock.now())
                && kernel.fwp.injection.is_idle()
                && kernel.dispatcher.idle() == kernel.objects.live_threads()
        };
        while !(is_idle() && is_idle()) {
            if kernel.clock.now() >= deadline || kernel.stopped() {
                return false;
            }
            self.sleep(Duration::from_micros(50));
        }
        true
    }

    /// Lets this much time pass at once. Timers that are due then expire; who waits otherwise waits as long as before.
    pub fn pass_time(&self, time: Duration) {
        self.kernel.clock.advance(time);
        self.kernel.timers.look_again();
    }

    /// Stops the lab because a driver hangs: whoever waits in there leaves, and a violation each says where it was.
    pub fn give_up(&self) {
        self.kernel.reports.hangs();
        self.enter(report::stop);
    }

    /// Waits for some time, by the lab's clock.
    pub fn sleep(&self, time: Duration) {
        self.enter(|| sleep(time));
    }

    /// Waits until something has become true, which `condition` only looks at: under a schedule, what it does would make others look
    /// again for what they wait for. False: the lab has stopped before.
    pub fn wait_until(&self, mut condition: impl FnMut() -> bool) -> bool {
        self.enter(|| {
            while !condition() {
                if self.stopped() {
                    return false;
                }
                if !schedule::pause("a condition of the scenario", Until::Notified) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            schedule::acted();
            true
        })
    }

    /// Whether a bug check has stopped the lab for good.
    pub fn stopped(&self) -> bool {
        self.kernel.stopped()
    }
}

/// Waits for some time, by the clock of the lab that this thread has entered.
pub(crate) fn sleep(time: Duration) {
    if !schedule::sleep(time, Until::Time) {
        std::thread::sleep(time);
    }
}
