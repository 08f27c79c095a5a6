//! Deterministic schedules: one thread of a lab runs at a time, and a seed decides which.
//!
//! Threads of a lab that was started by [`Schedule::new`] pass a baton. Whoever has it runs until a *scheduling point*: the entry of an
//! import, its return, the entry of a function of an image, its return, and any instruction of an image that the seed has chosen (see
//! [`crate::preempt`]). There the pseudo-random generator says who has the baton next. A thread that has to wait gives the baton away, and is asked again when what it waits for may have come. Time passes only by
//! a fixed step at each point, and when nobody can run: then it leaps to the next moment that somebody waits for. So the same seed
//! gives the same sequence of calls by thread, and a violation that a seed has shown, it shows again.
//!
//! How a schedule chooses derives from its seed as well (see [`Plan`]): at random, with more or less frequent changes; by priorities that
//! change at few points (after "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", ASPLOS 2010); and both with
//! threads *held* at a point for as long as anybody else can do anything. A thread that is held while its driver unloads, and lets it,
//! is one that the driver does not wait for. Most schedules hold at instructions: a driver that looks at a flag and then counts itself,
//! or counts itself out and then goes on, is wrong between two calls into the kernel.
//!
//! Loops of an image that wait without a call into the kernel give the baton away when they have taken too much of the processor's time;
//! how often they went round does not matter for what follows.
//!
//! What is not under control: threads that do not belong to the schedule, so that everything is to be done by threads that
//! [`Schedule::spawn`] made; and what a processor sees of another's stores, because each thread sees all that was done before it.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::call::Frame;
use crate::clock::Clock;
use crate::condition::Until;
use crate::detour::detour;
use crate::export;
use crate::image;
use crate::kernel::{Config, Kernel};
use crate::lab::Lab;
use crate::preempt::{self, Mark, Stop};
use crate::report::{Kind, Violation};
use crate::thread::{self, ThreadPage};

/// What passes at each scheduling point.
const STEP: Duration = Duration::from_micros(1);
/// A scenario that takes longer, by its own clock, waits for something that does not come.
const LONGEST: Duration = Duration::from_secs(3600);
/// As above, in scheduling points.
const MOST_POINTS: u64 = 2_000_000;
/// A thread that keeps the baton for so many points in a row, while others could run, waits for one of them.
const MOST_IN_A_ROW: u32 = 2000;
/// How long a thread may have the baton without coming to a scheduling point, by the machine's clock.
const STUCK: Duration = Duration::from_secs(20);
/// How much of a processor's time a thread may take without coming to one; if it is in an image then, it is taken to wait in a loop.
const SPIN: Duration = Duration::from_millis(50);

/// Where a thread was when it could have been stopped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Point {
    /// A scenario's thread or a thread of the lab begins.
    Start,
    /// A thread of the scenario does something, from outside of any image.
    Act(&'static str),
    /// An import was called, by its number.
    Import(u32),
    /// An import is about to return into the image.
    Return(u32),
    /// A function of an image is about to be called.
    Enter(&'static str),
    /// A function of an image has returned.
    Leave(&'static str),
    /// An instruction of an image is about to be executed, which has this place.
    Instruction(Arc<str>),
}

impl Point {
    fn name(&self) -> &str {
        match self {
            Point::Start => "",
            Point::Import(number) | Point::Return(number) => export::name(*number),
            Point::Act(what) | Point::Enter(what) | Point::Leave(what) => what,
            Point::Instruction(place) => place,
        }
    }

    /// Whether its name falls into this one of 16 classes.
    fn is_of(&self, class: Option<u64>) -> bool {
        class.is_none_or(|class| hash(HASH, self.name().as_bytes()) % 16 == class)
    }

    fn verb(&self) -> &'static str {
        match self {
            Point::Start => "begins",
            Point::Act(_) => "begins",
            Point::Import(_) => "calls",
            Point::Return(_) => "returns from",
            Point::Enter(_) => "enters",
            Point::Leave(_) => "leaves",
            Point::Instruction(_) => "stops at",
        }
    }
}

/// One scheduling point that a thread went past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The thread's name.
    pub thread: Arc<str>,
    /// What it did: `begins`, `calls`, `returns from`, `enters`, `leaves`, `stops at`.
    pub does: &'static str,
    /// An action of the scenario, an import, or the kind of an image's function, as in [`crate::Violation::doing`]; for `stops at` the
    /// place of an instruction.
    pub what: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.thread, self.does, self.what)
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Below one of the first so many powers of two: each magnitude is as likely as another.
    fn below_power(&mut self, powers: u64) -> u64 {
        let power = 1 << self.below(powers);
        self.below(power)
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

/// FNV-1a.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3))
}
const HASH: u64 = 0xCBF2_9CE4_8422_2325;

/// How one schedule chooses; all of it derives from the seed.
struct Plan {
    choice: Choice,
    hold: Option<Hold>,
    stall: Option<Stall>,
    /// At one point of so many, time leaps to the next moment that somebody waits for, although others could run.
    haste: Option<u64>,
}

enum Choice {
    /// At one point of so many, anybody who can run is next, with equal probability.
    Random(u64),
    /// Who can run and has the highest priority is next. At the points given, ascending, that priority becomes the lowest.
    Priorities(Vec<u64>),
}

/// Where threads are held.
enum Places {
    /// At one point of so many. Only points whose function's name falls into this one of 16 classes count, if there is one.
    Points { one_in: u64, class: Option<u64> },
    /// At an instruction of the image, in one stretch of so many; the more often such a stretch has been begun, the more seldom. The
    /// thread that unloads stands still there for at most so many points.
    Instructions { one_in: u64, longest: u64 },
}

/// Which threads are held.
struct Hold {
    at: Places,
    /// How many threads at once.
    most: usize,
    /// How often time may leap while somebody is held.
    leaps: u64,
}

/// The thread that unloads, or at times another, stands still while others go past some points; then it alone goes past some.
struct Stall {
    /// One point of so many of the unloading thread; one of sixteen times as many of others.
    one_in: u64,
    /// For at most so many points.
    longest: u64,
}

impl Plan {
    fn new(random: &mut Random) -> Plan {
        let choice = if random.one_in(2) {
            Choice::Random(1 << random.below(7))
        } else {
            // Nobody knows how many points there will be.
            let length = 1 << (6 + random.below(8));
            let mut changes: Vec<u64> = (0..random.below(8)).map(|_| random.below(length)).collect();
            changes.sort_unstable();
            Choice::Priorities(changes)
        };
        let most = 1 + random.below(3) as usize;
        let hold = match random.below(6) {
            0 => None,
            1 => {
                let class = random.one_in(2).then(|| random.below(16));
                let one_in = if class.is_some() { 1 << random.below(5) } else { 8 << random.below(6) };
                Some(Hold { at: Places::Points { one_in, class }, most, leaps: random.below(24) })
            }
            _ => {
                let (one_in, longest) = (1 << random.below(4), 4 << random.below(7));
                Some(Hold { at: Places::Instructions { one_in, longest }, most, leaps: 4 << random.below(6) })
            }
        };
        let stall = random.one_in(2).then(|| Stall { one_in: 2 << random.below(4), longest: 4 << random.below(5) });
        let haste = random.one_in(3).then(|| 16 << random.below(6));
        Plan { choice, hold, stall, haste }
    }
}

/// What a waiting thread waits for. It is asked with the number of steps that others have made.
type Ready = *const (dyn Fn(u64) -> bool + 'static);

enum Status {
    Ready,
    /// `looks`: it is woken by whatever others do.
    Waiting {
        ready: Ready,
        looks: bool,
        until: Option<Duration>,
        grace: bool,
        what: &'static str,
    },
    Held,
    /// Until so many points have been passed.
    Stalled(u64),
    Ended,
}

struct Seat {
    name: Arc<str>,
    /// Whether the schedule goes on for as long as this thread does.
    scenario: bool,
    status: Status,
    priority: u64,
    turn: Arc<AtomicBool>,
    thread: Option<Thread>,
    id: Option<libc::pthread_t>,
    page: *const ThreadPage,
}

struct State {
    seed: u64,
    random: Random,
    plan: Plan,
    seats: Vec<Seat>,
    /// Who has the baton.
    turn: usize,
    in_a_row: u32,
    /// The next lower priority than any in use.
    lowest: u64,
    points: u64,
    /// Changes whenever a thread has done something.
    steps: u64,
    /// Since then everybody has been told to look again, for what was done outside of images and imports.
    last_look: bool,
    trace: Vec<(u32, Point)>,
    /// How often a stretch of an image has begun at such a point.
    begun: HashMap<Point, u64>,
    unloading: Option<usize>,
    leaps_left: u64,
    /// A thread that alone goes on until so many points have been passed.
    alone: Option<(usize, u64)>,
    /// The lab has been stopped because nobody could run; whoever waits is told.
    hung: bool,
    /// Looks in vain since then.
    in_vain: u32,
    candidates: Vec<usize>,
}

// SAFETY: the pointers in it are to what a parked thread keeps alive; they are used with the baton only.
unsafe impl Send for State {}

/// What the threads of a scheduled lab pass on.
pub(crate) struct Baton {
    state: Mutex<State>,
    over: AtomicBool,
    ended: Condvar,
    clock: Arc<Clock>,
    kernel: OnceLock<Weak<Kernel>>,
}

impl Baton {
    pub fn new(seed: u64, clock: &Arc<Clock>) -> Arc<Baton> {
        let mut random = Random(seed);
        let plan = Plan::new(&mut random);
        let leaps_left = plan.hold.as_ref().map_or(0, |hold| hold.leaps);
        Arc::new(Baton {
            state: Mutex::new(State {
                seed,
                random,
                plan,
                seats: Vec::new(),
                turn: usize::MAX,
                in_a_row: 0,
                lowest: 1 << 32,
                points: 0,
                steps: 0,
                last_look: false,
                trace: Vec::new(),
                begun: HashMap::new(),
                unloading: None,
                leaps_left,
                alone: None,
                hung: false,
                in_vain: 0,
                candidates: Vec::new(),
            }),
            over: AtomicBool::new(false),
            ended: Condvar::new(),
            clock: clock.clone(),
            kernel: OnceLock::new(),
        })
    }

    pub fn belongs_to(&self, kernel: &Arc<Kernel>) {
        let _ = self.kernel.set(Arc::downgrade(kernel));
    }

    /// Not by [`lock`], which would come back here.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// A place among the threads for one that is about to be made; `None` when the schedule is over.
    pub fn take_seat(self: &Arc<Self>, name: &str, scenario: bool) -> Option<Place> {
        if self.is_over() {
            return None;
        }
        let mut state = self.state();
        let number = state.seats.len();
        let same = state.seats.iter().filter(|seat| seat.name.starts_with(name)).count();
        let name = if same == 0 { name.to_string() } else { format!("{name} {}", same + 1) };
        let priority = (1 << 32) + state.random.below(1 << 32);
        state.seats.push(Seat {
            name: name.into(),
            scenario,
            status: Status::Ready,
            priority,
            turn: Arc::default(),
            thread: None,
            id: None,
            page: core::ptr::null(),
        });
        Some(Place { baton: self.clone(), number })
    }

    /// A point at which another thread may go on instead of this one. Returns where the image is stopped next, if it is what goes on.
    fn point(&self, me: usize, point: Point) -> Option<Stop> {
        let mut state = self.state();
        if self.is_over() {
            return None;
        }
        state.points += 1;
        state.step();
        state.trace.push((me as u32, point.clone()));
        self.clock.advance(STEP);
        if state.points == MOST_POINTS {
            self.hang(&mut state, "it does not come to an end");
        }
        let stop = state.stop(me, &point);
        state.disturb(me, &point, &self.clock);
        self.pass_on(state, me);
        stop
    }

    /// Gives the baton away until `ready` or until a time.
    fn wait(&self, me: usize, what: &'static str, until: Until, looks: bool, ready: &dyn Fn(u64) -> bool) {
        let mut state = self.state();
        if self.is_over() {
            return;
        }
        if state.hung {
            state.in_vain += 1;
        }
        let (until, grace) = match until {
            Until::Notified => (None, false),
            Until::Time(at) => (Some(self.clock.since_start(at)), false),
            Until::Grace(at) => (Some(self.clock.since_start(at)), true),
        };
        // SAFETY: the closure outlives its use: this function does not return before the seat is out of this state.
        let ready =
            unsafe { core::mem::transmute::<*const (dyn Fn(u64) -> bool + '_), Ready>(core::ptr::from_ref(ready)) };
        state.seats[me].status = Status::Waiting { ready, looks, until, grace, what };
        self.pass_on(state, me);
    }

    /// Gives the baton to whoever is next, and returns when it is this thread's again.
    fn pass_on(&self, mut state: MutexGuard<'_, State>, me: usize) {
        match self.choose(&mut state) {
            Some(next) if next == me => return,
            Some(next) => state.give_to(next),
            None => return self.finish(&mut state),
        }
        let turn = state.seats[me].turn.clone();
        drop(state);
        self.wait_for(&turn);
    }

    fn wait_for(&self, turn: &AtomicBool) {
        while !turn.swap(false, Ordering::Acquire) && !self.is_over() {
            std::thread::park();
        }
    }

    /// Who has the baton next; `None`: there is nothing left to do.
    fn choose(&self, state: &mut State) -> Option<usize> {
        loop {
            let mut candidates = core::mem::take(&mut state.candidates);
            candidates.clear();
            let now = self.clock.elapsed();
            for (index, seat) in state.seats.iter().enumerate() {
                let can_run = match &seat.status {
                    Status::Ready => true,
                    Status::Stalled(until) => *until <= state.points,
                    Status::Held | Status::Ended => false,
                    Status::Waiting { until, .. } if state.hung || until.is_some_and(|until| until <= now) => true,
                    // SAFETY: the thread is parked in `wait`, which keeps the closure; that changes nothing.
                    Status::Waiting { ready, .. } => unsafe { (**ready)(state.steps) },
                };
                if can_run {
                    candidates.push(index);
                }
            }
            let next = (!candidates.is_empty()).then(|| state.pick(&candidates));
            state.candidates = candidates;
            if let Some(next) = next {
                if state.in_vain > 10_000 {
                    return None;
                }
                // Whoever looks in vain changes nothing; anybody else may.
                let seat = &mut state.seats[next];
                let looks =
                    matches!(core::mem::replace(&mut seat.status, Status::Ready), Status::Waiting { looks: true, .. });
                state.last_look &= looks;
                return Some(next);
            }
            if let Some(seat) = state.seats.iter_mut().find(|seat| matches!(seat.status, Status::Stalled(_))) {
                seat.status = Status::Ready;
                continue;
            }
            if !core::mem::replace(&mut state.last_look, true) {
                state.steps += 1;
                continue;
            }
            let deadline = state.next_deadline();
            if state.seats.iter().any(|seat| matches!(seat.status, Status::Held)) {
                match deadline {
                    Some((at, false)) if state.leaps_left > 0 => {
                        state.leaps_left -= 1;
                        self.clock.advance(at - now);
                    }
                    _ => state.release_held(),
                }
                continue;
            }
            if state.seats.iter().all(|seat| !seat.scenario || matches!(seat.status, Status::Ended)) {
                return None;
            }
            match deadline {
                Some((at, _)) if at <= LONGEST => self.clock.advance(at - now),
                Some(_) => self.hang(state, "it waits for more than an hour"),
                None => self.hang(state, "no thread can go on"),
            }
        }
    }

    /// Records that the scenario has come to a standstill, and stops the lab.
    #[cold]
    fn hang(&self, state: &mut State, why: &str) {
        state.hung = true;
        let Some(kernel) = self.kernel.get().and_then(Weak::upgrade) else { return };
        let mut doing = Vec::new();
        for seat in state.seats.iter().filter(|seat| !matches!(seat.status, Status::Ended)) {
            let does = match seat.status {
                Status::Waiting { what, .. } => what,
                _ => "nothing: it could run",
            };
            // SAFETY: the page of a thread that has not ended, and that is parked or this one.
            let frames = unsafe { seat.page.as_ref() }.map(ThreadPage::doing).unwrap_or_default();
            let frames: String = frames.iter().map(|frame| format!(", in {frame}")).collect();
            doing.push(format!("{}, which waits for {does}{frames}", seat.name));
        }
        kernel.reports.add(Violation {
            kind: Kind::Hang,
            driver: None,
            what: format!("under the schedule of seed {}, {why}", state.seed),
            place: None,
            doing,
            remedy: "see what each thread waits for, and who was to give it".into(),
            times: 1,
        });
        kernel.stopped.store(true, Ordering::SeqCst);
    }

    /// Lets everyone run freely.
    fn finish(&self, state: &mut State) {
        self.clock.run_freely();
        self.over.store(true, Ordering::Release);
        for seat in &state.seats {
            seat.turn.store(true, Ordering::Release);
            if let Some(thread) = &seat.thread {
                thread.unpark();
            }
        }
        self.ended.notify_all();
    }
}

impl State {
    fn step(&mut self) {
        self.steps += 1;
        self.last_look = false;
    }

    /// Gives a thread a lower priority than any other has.
    fn lower(&mut self, me: usize) {
        self.lowest -= 1;
        self.seats[me].priority = self.lowest;
    }

    /// Where the thread is to be stopped in the image that it goes on to from a point.
    fn stop(&mut self, me: usize, point: &Point) -> Option<Stop> {
        let Hold { at: Places::Instructions { one_in, .. }, most, .. } = self.plan.hold.as_ref()? else { return None };
        let one_in = match point {
            Point::Enter(_) | Point::Instruction(_) => *one_in,
            Point::Return(_) => 4 * one_in,
            _ => return None,
        };
        let may_be = self.unloading == Some(me) || self.held() < *most;
        let begun = self.begun.entry(point.clone()).or_insert(0);
        *begun += 1;
        if !may_be || !self.random.one_in(one_in * *begun) {
            return None;
        }
        // Next to where it touches what others touch; or anywhere, sooner rather than later.
        let mark = match self.random.below(8) {
            0 => return Some(Stop::after(1 + self.random.below_power(8) as u32)),
            1 => Mark::Variable,
            _ => Mark::Atomic,
        };
        let marks = 1 + self.random.below_power(3) as u32;
        Some(Stop::near(mark, marks, self.random.below_power(3) as u32))
    }

    fn held(&self) -> usize {
        self.seats.iter().filter(|seat| matches!(seat.status, Status::Held)).count()
    }

    /// What the plan does to the thread that has the baton, besides choosing the next.
    fn disturb(&mut self, me: usize, point: &Point, clock: &Clock) {
        if let Some(one_in) = self.plan.haste
            && self.random.one_in(one_in)
            && let Some((at, false)) = self.next_deadline()
        {
            clock.advance(at.saturating_sub(clock.elapsed()));
        }
        if let Choice::Priorities(changes) = &mut self.plan.choice {
            let mut changed = self.in_a_row > MOST_IN_A_ROW;
            while changes.first().is_some_and(|change| *change <= self.points) {
                changes.remove(0);
                changed = true;
            }
            if changed {
                self.lower(me);
            }
        }
        if let Some(stall) = &self.plan.stall {
            let one_in = if self.unloading == Some(me) { stall.one_in } else { 16 * stall.one_in };
            let alone = self.alone.is_some_and(|(seat, until)| seat == me && self.points < until);
            if !alone && !matches!(point, Point::Instruction(_)) && self.random.one_in(one_in) {
                self.seats[me].status = Status::Stalled(self.points + 1 + self.random.below(stall.longest));
                return;
            }
        }
        let Some(hold) = &self.plan.hold else { return };
        let is_place = match hold.at {
            Places::Points { one_in, class } => point.is_of(class) && self.random.one_in(one_in),
            Places::Instructions { .. } => matches!(point, Point::Instruction(_)),
        };
        if is_place && self.unloading != Some(me) && self.held() < hold.most {
            self.seats[me].status = Status::Held;
        } else if let (Places::Instructions { longest, .. }, Point::Instruction(_)) = (&hold.at, point) {
            self.seats[me].status = Status::Stalled(self.points + 1 + self.random.below(*longest));
        }
    }

    fn pick(&mut self, candidates: &[usize]) -> usize {
        let stalled = candidates.iter().find(|candidate| matches!(self.seats[**candidate].status, Status::Stalled(_)));
        if let Some(stalled) = stalled {
            self.alone = Some((*stalled, self.points + 1 + self.random.below(8)));
        }
        if let Some((alone, until)) = self.alone
            && self.points < until
            && candidates.contains(&alone)
        {
            return alone;
        }
        let next = match &self.plan.choice {
            Choice::Random(one_in) => {
                let stay = candidates.contains(&self.turn) && self.in_a_row < MOST_IN_A_ROW;
                if stay && !self.random.one_in(*one_in) {
                    self.turn
                } else {
                    candidates[self.random.below(candidates.len() as u64) as usize]
                }
            }
            Choice::Priorities(_) => {
                let highest = candidates.iter().max_by_key(|candidate| self.seats[**candidate].priority);
                *highest.expect("there is a candidate")
            }
        };
        self.in_a_row = if next == self.turn { self.in_a_row + 1 } else { 0 };
        next
    }

    /// The next moment that somebody waits for, and whether it is one that must not be missed.
    fn next_deadline(&self) -> Option<(Duration, bool)> {
        let waits = self.seats.iter().filter_map(|seat| match seat.status {
            Status::Waiting { until: Some(until), grace, .. } => Some((until, grace)),
            _ => None,
        });
        waits.min()
    }

    fn release_held(&mut self) {
        for seat in self.seats.iter_mut().filter(|seat| matches!(seat.status, Status::Held)) {
            seat.status = Status::Ready;
        }
        if let Some(hold) = &self.plan.hold {
            self.leaps_left = hold.leaps;
        }
    }

    /// The thread that has the baton, once it has entered the lab.
    fn running(&self) -> Option<libc::pthread_t> {
        self.seats.get(self.turn)?.id
    }

    fn give_to(&mut self, next: usize) {
        self.turn = next;
        let seat = &self.seats[next];
        seat.turn.store(true, Ordering::Release);
        if let Some(thread) = &seat.thread {
            thread.unpark();
        }
    }
}

/// A thread's place in a schedule.
#[derive(Clone)]
pub(crate) struct Place {
    baton: Arc<Baton>,
    number: usize,
}

impl Place {
    /// Waits for the first turn of this thread, which runs `body` then and passes the baton on at its end.
    pub fn run<R>(self, kernel: &Arc<Kernel>, body: impl FnOnce() -> R) -> R {
        let turn = {
            let mut state = self.baton.state();
            let seat = &mut state.seats[self.number];
            seat.thread = Some(std::thread::current());
            seat.turn.clone()
        };
        self.baton.wait_for(&turn);
        let result = thread::enter(kernel, || {
            let page = thread::page();
            page.baton.set(Arc::as_ptr(&self.baton));
            page.seat.set(self.number);
            let mut state = self.baton.state();
            state.seats[self.number].page = core::ptr::from_ref(page);
            // SAFETY: takes nothing, and cannot fail.
            state.seats[self.number].id = Some(unsafe { libc::pthread_self() });
            drop(state);
            self.baton.point(self.number, Point::Start);
            let result = catch_unwind(AssertUnwindSafe(body));
            page.baton.set(core::ptr::null());
            result
        });
        // Before anybody else runs: which virtual processor is free must not depend on when this thread ends.
        thread::end();
        self.give_up();
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Gives the seat of a thread back that has not been made.
    pub fn cancel(&self) {
        self.baton.state().seats[self.number].status = Status::Ended;
    }

    /// Leaves the schedule.
    fn give_up(&self) {
        let mut state = self.baton.state();
        if self.baton.is_over() {
            return;
        }
        state.step();
        state.seats[self.number].status = Status::Ended;
        state.seats[self.number].page = core::ptr::null();
        state.seats[self.number].id = None;
        match self.baton.choose(&mut state) {
            Some(next) => state.give_to(next),
            None => self.baton.finish(&mut state),
        }
    }
}

/// The schedule that this thread is under, and its place in it.
#[inline]
fn mine<'a>() -> Option<(&'a Baton, usize)> {
    let page = thread::page_if_any()?;
    let baton = page.baton.get();
    if baton.is_null() {
        return None;
    }
    // SAFETY: set by `Place::run`, which holds the baton for as long.
    let baton = unsafe { &*baton };
    if baton.is_over() {
        page.baton.set(core::ptr::null());
        return None;
    }
    Some((baton, page.seat.get()))
}

/// Whether this thread is under a schedule.
#[inline]
pub(crate) fn is_active() -> bool {
    mine().is_some()
}

/// Waits until `ready`, which is asked with the number of steps made by anybody, or until a time. It may return early.
pub(crate) fn wait(what: &'static str, until: Until, ready: &dyn Fn(u64) -> bool) {
    if let Some((baton, me)) = mine() {
        baton.wait(me, what, until, false, ready);
    }
}

/// Lets others run until one of them has done something, or until a time. False: this thread is under no schedule.
pub(crate) fn pause(what: &'static str, until: Until) -> bool {
    let Some((baton, me)) = mine() else { return false };
    let before = baton.state().steps;
    baton.wait(me, what, until, true, &|steps| steps != before);
    true
}

/// What a scenario does from outside of any image is about to begin.
#[inline]
pub(crate) fn begins(what: &'static str) {
    if thread::page_if_any().is_some_and(|page| !page.baton.get().is_null()) {
        at(Point::Act(what));
    }
}

/// This thread has done something that others may wait for, outside of images and imports.
pub(crate) fn acted() {
    if let Some((baton, _)) = mine() {
        baton.state().step();
    }
}

/// Lets others run until a time. False: this thread is under no schedule.
pub(crate) fn sleep(time: Duration, until: impl FnOnce(Instant) -> Until) -> bool {
    let Some((baton, me)) = mine() else { return false };
    let end = baton.clock.now() + time;
    let until = until(end);
    while baton.clock.now() < end && is_active() && !thread::page().stopped() {
        baton.wait(me, "a time", until, false, &|_| false);
    }
    true
}

#[cold]
fn at(point: Point) -> Option<Stop> {
    let (baton, me) = mine()?;
    baton.point(me, point)
}

/// A function of an image is about to be called. Returns what to call for it. Inlined, so that without a schedule it costs a comparison.
#[inline]
pub(crate) fn entering(page: &ThreadPage, what: &'static str, function: *const ()) -> *const () {
    if page.baton.get().is_null() {
        return function;
    }
    preempt::begin(page, function as u64, at(Point::Enter(what))) as *const ()
}

/// The thread was stopped before the instruction of an image at `rip`. Returns where it is stopped next, if it is.
pub(crate) fn stopped(page: &ThreadPage, rip: u64) -> Option<Stop> {
    let place = image::place(rip)?;
    page.stopped_at.set(rip);
    let next = at(Point::Instruction(place.to_string().into()));
    page.stopped_at.set(0);
    next
}

/// The thread waits for others, in a loop of an image without a call into the kernel, at `rip`.
pub(crate) fn spins(page: &ThreadPage, rip: u64) {
    let Some((baton, me)) = mine() else { return };
    let mut state = baton.state();
    state.lower(me);
    let before = state.steps;
    drop(state);
    page.stopped_at.set(rip);
    baton.wait(me, "what a loop of the image looks at", Until::Notified, true, &|steps| steps != before);
    page.stopped_at.set(0);
}

/// A function of an image has returned.
#[inline]
pub(crate) fn left(page: &ThreadPage, what: &'static str) {
    if !page.baton.get().is_null() {
        at(Point::Leave(what));
    }
}

/// This thread begins to unload a driver: it is not held until [`unloaded`].
pub(crate) fn unloading() {
    if let Some((baton, me)) = mine() {
        baton.state().unloading = Some(me);
    }
}

/// The driver is gone: whoever was held goes on.
pub(crate) fn unloaded() {
    if let Some((baton, _)) = mine() {
        let mut state = baton.state();
        state.unloading = None;
        state.release_held();
    }
}

// The stub of an import comes here first if its thread is under a schedule (see `export.rs`).
detour!(postern_lab_scheduled_import, postern_lab_scheduled_return, before_import, after_import);

extern "win64" fn before_import(return_slot: *mut u64, _arguments: *const [u64; 4]) {
    let page = thread::page();
    at(Point::Import(page.import.get()));
    if page.must_leave() {
        thread::leave_for_good();
    }
    let frame = page.innermost().cast_mut();
    if frame.is_null() || !is_active() {
        return;
    }
    // SAFETY: the stub's caller has just stored it.
    let returns_to = unsafe { return_slot.read() };
    // SAFETY: the frame of the call in progress, which nothing else refers to while this runs.
    unsafe { (*frame).returns_to = returns_to };
    // SAFETY: the import returns to the second routine, which goes on to where it was to return.
    unsafe { return_slot.write(postern_lab_scheduled_return as *const () as u64) };
}

extern "win64" fn after_import(_returned: u64) -> u64 {
    let page = thread::page();
    let stop = at(Point::Return(page.import.get()));
    if page.must_leave() {
        thread::leave_for_good();
    }
    let frame: *const Frame = page.innermost();
    // SAFETY: the frame of the call in progress: an import returns to the call that it was called in.
    let returns_to = unsafe { (*frame).returns_to };
    preempt::begin(page, returns_to, stop)
}

type Body = Box<dyn FnOnce() + Send>;

/// A scenario whose threads run one at a time, in an order that a seed decides.
///
/// ```no_run
/// # use postern_lab::{Config, Schedule};
/// # fn image() -> &'static [u8] { &[] }
/// let mut schedule = Schedule::new(Config::default(), 7);
/// let lab = schedule.lab().clone();
/// schedule.spawn("unloader", move || {
///     lab.load("driver", image()).unwrap();
///     assert!(lab.unload("driver").unwrap().is_clean());
/// });
/// let run = schedule.run();
/// println!("{} scheduling points, hash {:#x}", run.trace().len(), run.hash());
/// ```
pub struct Schedule {
    lab: Lab,
    baton: Arc<Baton>,
    threads: Vec<(Place, Body)>,
}

impl Schedule {
    /// Starts a lab whose threads are scheduled by `seed`. Everything that is done with it until [`Schedule::run`] has returned is to be
    /// done by threads of the schedule.
    pub fn new(config: Config, seed: u64) -> Schedule {
        let lab = Lab::start_with(config, Some(seed));
        let baton = lab.kernel.baton.clone().expect("the lab was started with a seed");
        Schedule { lab, baton, threads: Vec::new() }
    }

    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Adds a thread to the scenario. It must wait for others through the lab alone ([`Lab::wait_until`], [`Lab::sleep`], requests): a
    /// thread that blocks otherwise has the baton and does not pass it on.
    pub fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) {
        let place = self.baton.take_seat(name, true).expect("the schedule has not begun");
        self.threads.push((place, Box::new(body)));
    }

    /// Runs the scenario to its end: until every thread of it has ended, and nothing else can run.
    ///
    /// A deadlock is a violation of kind [`Kind::Hang`], after which the lab has stopped. From then on the lab runs freely.
    ///
    /// # Panics
    /// With the panic of a thread of the scenario; and if a thread waits outside of the lab, or loops there.
    pub fn run(self) -> Run {
        let Schedule { lab, baton, threads } = self;
        let panicked: Arc<Mutex<Option<Box<dyn Any + Send>>>> = Arc::default();
        let mut running = Vec::new();
        for (place, body) in threads {
            let name = baton.state().seats[place.number].name.to_string();
            let (kernel, panicked) = (lab.kernel.clone(), panicked.clone());
            let body = move || {
                let result = catch_unwind(AssertUnwindSafe(|| place.run(&kernel, body)));
                if let Err(panic) = result {
                    panicked.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
                }
            };
            running.push(std::thread::Builder::new().name(name).spawn(body).expect("the system refuses a thread"));
        }
        let mut state = baton.state();
        match baton.choose(&mut state) {
            Some(first) => state.give_to(first),
            None => baton.finish(&mut state),
        }
        let mut watched = Watched::new(&state);
        while !baton.is_over() {
            state = baton.ended.wait_timeout(state, SPIN).unwrap_or_else(PoisonError::into_inner).0;
            if !baton.is_over() && !watched.goes_on(&state) {
                let name = state.seats[state.turn].name.clone();
                panic!("under the schedule of seed {}, {name} loops, or waits outside of the lab", state.seed);
            }
        }
        let hung = state.hung;
        let names: Vec<_> = state.seats.iter().map(|seat| seat.name.clone()).collect();
        let (seed, trace) = (state.seed, core::mem::take(&mut state.trace));
        drop(state);
        if !hung {
            for thread in running {
                let _ = thread.join();
            }
        }
        if let Some(panic) = panicked.lock().unwrap_or_else(PoisonError::into_inner).take() {
            resume_unwind(panic);
        }
        Run { seed, names, trace }
    }
}

/// The thread that has the baton, watched from outside of the schedule.
struct Watched {
    turn: usize,
    points: u64,
    since: Instant,
    /// The processor time that it had taken when it was last told to give the baton away, or came to a point.
    taken: Duration,
}

impl Watched {
    fn new(state: &State) -> Watched {
        let taken = state.running().map_or(Duration::ZERO, preempt::processor_time);
        Watched { turn: state.turn, points: state.points, since: Instant::now(), taken }
    }

    /// False if the thread has not come to a scheduling point for too long.
    fn goes_on(&mut self, state: &State) -> bool {
        if (self.turn, self.points) != (state.turn, state.points) {
            *self = Watched::new(state);
        } else if let Some(thread) = state.running() {
            let taken = preempt::processor_time(thread);
            if taken.saturating_sub(self.taken) >= SPIN {
                self.taken = taken;
                preempt::interrupt(thread);
            }
        }
        self.since.elapsed() < STUCK
    }
}

/// What happened under a schedule.
pub struct Run {
    seed: u64,
    names: Vec<Arc<str>>,
    trace: Vec<(u32, Point)>,
}

impl Run {
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Every scheduling point in the order in which the threads went past.
    pub fn trace(&self) -> Vec<Step> {
        let step = |(thread, point): &(u32, Point)| Step {
            thread: self.names[*thread as usize].clone(),
            does: point.verb(),
            what: point.name().to_string(),
        };
        self.trace.iter().map(step).collect()
    }

    /// A hash of the trace: two runs in which the same threads did the same in the same order have the same.
    pub fn hash(&self) -> u64 {
        self.trace.iter().fold(HASH, |value, (thread, point)| {
            let value = hash(value, self.names[*thread as usize].as_bytes());
            hash(hash(value, point.verb().as_bytes()), point.name().as_bytes())
        })
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {} scheduling points, hash {:#018x}", self.seed, self.trace.len(), self.hash())
    }
}
