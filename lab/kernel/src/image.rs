//! Kernel images: checking, mapping, relocating, importing, and what becomes of their addresses.
//!
//! An unloaded image leaves its addresses behind, reserved and inaccessible, so that a late call faults
//! and can be told apart from everything else. The last [`QUARANTINED`] unloaded images of the process are
//! kept so; older ones give their address range back.

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use object::LittleEndian as LE;
use object::pe;
use object::read::pe::{ImageNtHeaders, ImageOptionalHeader, Import, PeFile64};

use crate::clock::{self, Clock};
use crate::export;
use crate::kernel::{lock_of_process, next_number};
use crate::report::Place;
use crate::shared_data;

/// Unloaded images whose addresses stay reserved, over the whole process.
pub const QUARANTINED: usize = 256;

/// Why an image cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    #[error("not a complete PE image: {0}")]
    Malformed(String),
    #[error("the image is for machine {found:#06x}; the lab runs x64 images (0x8664)")]
    Machine { found: u16 },
    #[error("the image's subsystem is {found}; a driver's is native (1): link it with /SUBSYSTEM:NATIVE")]
    Subsystem { found: u16 },
    #[error(
        "the image has no relocations, so it can only run at its preferred address: link it with /DYNAMICBASE or --enable-reloc-section"
    )]
    NoRelocations,
    #[error("section {name} lies at {start:#x}..{end:#x}, {what}")]
    Section { name: String, start: u64, end: u64, what: String },
    #[error("relocation at {at:#x}: {what}")]
    Relocation { at: u64, what: String },
    #[error("the image imports what the lab does not supply: {}", .0.join(", "))]
    UnknownImports(Vec<String>),
    #[error("the image needs {0} bytes of address space, which the system refuses")]
    Memory(u64),
}

fn malformed(what: impl core::fmt::Display) -> ImageError {
    ImageError::Malformed(what.to_string())
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Loaded,
    Unloaded,
}

/// Address ranges of all images of the process, readable from a signal handler.
struct Range {
    /// 0: free, else 1 + `State`.
    state: AtomicU32,
    start: AtomicU64,
    end: AtomicU64,
    number: AtomicU64,
}

const RANGES: usize = 1024;
static RESERVED: [Range; RANGES] = [const {
    Range { state: AtomicU32::new(0), start: AtomicU64::new(0), end: AtomicU64::new(0), number: AtomicU64::new(0) }
}; RANGES];
static HIGHEST: AtomicUsize = AtomicUsize::new(0);

/// What only reports need, by start address.
static DETAILS: Mutex<BTreeMap<u64, Arc<Details>>> = Mutex::new(BTreeMap::new());
static GRAVEYARD: Mutex<VecDeque<Mapping>> = Mutex::new(VecDeque::new());

struct Details {
    name: String,
    /// Symbols by offset.
    symbols: BTreeMap<u64, String>,
}

fn range_of(address: u64) -> Option<&'static Range> {
    let highest = HIGHEST.load(Ordering::Acquire);
    RESERVED[..highest].iter().find(|range| {
        range.state.load(Ordering::Acquire) != 0
            && (range.start.load(Ordering::Relaxed)..range.end.load(Ordering::Relaxed)).contains(&address)
    })
}

/// Whether an address lies in an image, and in what state that is. Usable in a signal handler.
pub(crate) fn state(address: u64) -> Option<State> {
    match range_of(address)?.state.load(Ordering::Acquire) {
        1 => Some(State::Loaded),
        2 => Some(State::Unloaded),
        _ => None,
    }
}

/// Number of the image that an address lies in; unique over the life of the process.
pub(crate) fn number_at(address: u64) -> Option<u64> {
    Some(range_of(address)?.number.load(Ordering::Relaxed))
}

/// Names an address in an image.
pub(crate) fn place(address: u64) -> Option<Place> {
    let start = range_of(address)?.start.load(Ordering::Relaxed);
    let details = lock_of_process(&DETAILS).get(&start)?.clone();
    let offset = address - start;
    let symbol = details.symbols.range(..=offset).next_back().map(|(at, name)| (name.clone(), offset - at));
    Some(Place { image: details.name.clone(), offset, symbol })
}

/// A reserved address range with its entry in [`RESERVED`].
struct Mapping {
    start: u64,
    size: usize,
    slot: usize,
}

impl Mapping {
    fn new(name: &str, size: usize) -> Result<Mapping, ImageError> {
        // SAFETY: reserves fresh address space.
        let start = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                size,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(ImageError::Memory(size as u64));
        }
        let start = start as u64;
        let Some(slot) = RESERVED
            .iter()
            .position(|range| range.state.compare_exchange(0, 3, Ordering::AcqRel, Ordering::Relaxed).is_ok())
        else {
            // SAFETY: reserved above.
            unsafe { libc::munmap(start as *mut libc::c_void, size) };
            return Err(malformed("too many images are loaded in this process"));
        };
        RESERVED[slot].start.store(start, Ordering::Relaxed);
        RESERVED[slot].end.store(start + size as u64, Ordering::Relaxed);
        HIGHEST.fetch_max(slot + 1, Ordering::AcqRel);
        RESERVED[slot].number.store(next_number(), Ordering::Relaxed);
        let details = Details { name: name.to_string(), symbols: BTreeMap::new() };
        lock_of_process(&DETAILS).insert(start, Arc::new(details));
        RESERVED[slot].state.store(1, Ordering::Release);
        Ok(Mapping { start, size, slot })
    }

    fn protect(&self, offset: u64, size: u64, protection: i32) {
        // SAFETY: inside the range that this mapping owns; callers stay within its size.
        let result = unsafe { libc::mprotect((self.start + offset) as *mut libc::c_void, size as usize, protection) };
        assert!(result == 0, "mprotect of an image's own pages failed");
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        lock_of_process(&DETAILS).remove(&self.start);
        RESERVED[self.slot].state.store(0, Ordering::Release);
        // SAFETY: the range is this mapping's, and no image lives in it any more.
        unsafe { libc::munmap(self.start as *mut libc::c_void, self.size) };
    }
}

/// A mapped image. Dropping it makes its pages inaccessible and keeps the addresses in quarantine.
pub struct Image {
    mapping: Option<Mapping>,
    entry: u64,
    number: u64,
}

struct Section {
    name: String,
    start: u64,
    virtual_size: u64,
    characteristics: pe::SectionFlags,
}

impl Image {
    /// Maps `file` under `name`, ready to be entered. What it reads inline from `KUSER_SHARED_DATA`, it reads from `clock`'s page.
    ///
    /// Imports that the lab does not supply are an error, unless `imports_anything`: then a call of one stops the lab.
    pub fn load(name: &str, file: &[u8], clock: &Arc<Clock>, imports_anything: bool) -> Result<Image, ImageError> {
        let parsed = PeFile64::parse(file).map_err(|error| check_kind(file).unwrap_or(malformed(error)))?;
        let headers = parsed.nt_headers();
        let machine = headers.file_header().machine.get(LE);
        if machine != pe::IMAGE_FILE_MACHINE_AMD64 {
            return Err(ImageError::Machine { found: machine.0 });
        }
        let optional = headers.optional_header();
        if optional.subsystem() != pe::IMAGE_SUBSYSTEM_NATIVE {
            return Err(ImageError::Subsystem { found: optional.subsystem().0 });
        }
        let size = u64::from(optional.size_of_image());
        if size == 0 || size > 256 << 20 {
            return Err(malformed(format!("SizeOfImage is {size:#x}; 1 byte to 256 MiB are supported")));
        }
        let entry = u64::from(optional.address_of_entry_point());
        if entry == 0 || entry >= size {
            return Err(malformed(format!("the entry point {entry:#x} lies outside of the image ({size:#x} bytes)")));
        }
        let sections = check_sections(&parsed, file, size)?;
        if !sections.iter().any(|section| {
            section.characteristics.contains(pe::IMAGE_SCN_MEM_EXECUTE)
                && (section.start..section.start + section.virtual_size).contains(&entry)
        }) {
            return Err(malformed(format!("the entry point {entry:#x} lies in no executable section")));
        }
        let stripped = headers.file_header().characteristics.get(LE).contains(pe::IMAGE_FILE_RELOCS_STRIPPED);
        if stripped {
            return Err(ImageError::NoRelocations);
        }

        let pages = size.next_multiple_of(4096);
        let mapping = Mapping::new(name, pages as usize)?;
        mapping.protect(0, pages, libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: the whole of the mapping, which is readable and writable and known to nobody else yet.
        let memory = unsafe { core::slice::from_raw_parts_mut(mapping.start as *mut u8, pages as usize) };
        let header_size = (optional.size_of_headers() as usize).min(file.len()).min(size as usize);
        memory[..header_size].copy_from_slice(&file[..header_size]);
        for section in parsed.section_table().iter() {
            let start = section.virtual_address.get(LE) as usize;
            let raw = section.size_of_raw_data.get(LE).min(section_size(section) as u32) as usize;
            let from = section.pointer_to_raw_data.get(LE) as usize;
            if raw != 0 {
                memory[start..start + raw].copy_from_slice(&file[from..from + raw]);
            }
        }
        relocate(&parsed, file, optional.image_base(), mapping.start, memory, size)?;
        import(&parsed, memory, size, imports_anything)?;
        let mut reads_time = false;
        for section in sections.iter().filter(|section| section.characteristics.contains(pe::IMAGE_SCN_MEM_EXECUTE)) {
            let code = &mut memory[section.start as usize..(section.start + section.virtual_size) as usize];
            reads_time |= shared_data::redirect(code, &clock.shared_data) != 0;
        }
        if reads_time {
            clock::keep_current(clock);
        }
        protect(&mapping, &sections, header_size as u64);

        let mut details = lock_of_process(&DETAILS);
        let number = RESERVED[mapping.slot].number.load(Ordering::Relaxed);
        details.insert(mapping.start, Arc::new(Details { name: name.to_string(), symbols: symbols(&parsed) }));
        drop(details);
        let entry = mapping.start + entry;
        Ok(Image { mapping: Some(mapping), entry, number })
    }

    fn mapping(&self) -> &Mapping {
        self.mapping.as_ref().expect("an image is mapped until it is dropped")
    }

    pub fn base(&self) -> u64 {
        self.mapping().start
    }

    pub fn size(&self) -> u32 {
        self.mapping().size as u32
    }

    pub fn entry_point(&self) -> *const () {
        self.entry as *const ()
    }

    /// Unique over the life of the process; tells loads of the same file apart.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

impl Image {
    /// Ends all execution in the image, and leaves its data to be looked at: what a thread would go on to do with memory that is about to be
    /// taken away is a late call from here on.
    pub fn retire(&self) {
        let mapping = self.mapping();
        RESERVED[mapping.slot].state.store(2, Ordering::Release);
        let start = mapping.start as *mut libc::c_void;
        // SAFETY: the image's own pages; execution in them faults, which the fault handler reports.
        let result = unsafe { libc::mprotect(start, mapping.size, libc::PROT_READ | libc::PROT_WRITE) };
        assert!(result == 0, "cannot end execution in an unloaded image");
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let Some(mapping) = self.mapping.take() else { return };
        RESERVED[mapping.slot].state.store(2, Ordering::Release);
        // SAFETY: replaces the image's pages with inaccessible ones in one step; the memory is returned.
        let result = unsafe {
            libc::mmap(
                mapping.start as *mut libc::c_void,
                mapping.size,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        assert!(result != libc::MAP_FAILED, "cannot take an unloaded image's pages away");
        let mut graveyard = lock_of_process(&GRAVEYARD);
        graveyard.push_back(mapping);
        if graveyard.len() > QUARANTINED {
            graveyard.pop_front();
        }
    }
}

/// The error that says more than the parser's: an image of the wrong width or machine.
fn check_kind(file: &[u8]) -> Option<ImageError> {
    if file.is_empty() {
        return Some(malformed("the file is empty"));
    }
    if !file.starts_with(b"MZ") {
        return Some(malformed("it does not begin with MZ"));
    }
    let ends =
        || malformed(format!("the file ends after {:#x} bytes, inside its headers: it is truncated", file.len()));
    let Some(offset) = file.get(0x3c..).and_then(|rest| rest.first_chunk::<4>()) else { return Some(ends()) };
    let offset = u32::from_le_bytes(*offset) as usize;
    // The signature and the file header.
    let Some(header) = file.get(offset..).and_then(|rest| rest.first_chunk::<24>()) else { return Some(ends()) };
    if !header.starts_with(b"PE\0\0") {
        return Some(malformed(format!("no PE signature at {offset:#x}")));
    }
    let field = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let (machine, sections, optional) = (field(4), usize::from(field(6)), usize::from(field(20)));
    if machine != pe::IMAGE_FILE_MACHINE_AMD64.0 {
        return Some(ImageError::Machine { found: machine });
    }
    (offset + header.len() + optional + sections * size_of::<pe::ImageSectionHeader>() > file.len()).then(ends)
}

fn section_size(section: &pe::ImageSectionHeader) -> u64 {
    let size = section.virtual_size.get(LE);
    u64::from(if size == 0 { section.size_of_raw_data.get(LE) } else { size })
}

fn check_sections(parsed: &PeFile64<'_>, file: &[u8], size: u64) -> Result<Vec<Section>, ImageError> {
    let mut sections: Vec<Section> = Vec::new();
    let headers = u64::from(parsed.nt_headers().optional_header().size_of_headers());
    for section in parsed.section_table().iter() {
        let name = String::from_utf8_lossy(section.raw_name()).into_owned();
        let start = u64::from(section.virtual_address.get(LE));
        let virtual_size = section_size(section);
        let end = start + virtual_size;
        let error = |what: String| ImageError::Section { name: name.clone(), start, end, what };
        if end > size {
            return Err(error(format!("outside of the image ({size:#x} bytes)")));
        }
        if start % 4096 != 0 {
            return Err(error("which does not begin on a page".into()));
        }
        if start < headers {
            return Err(error(format!("over the headers ({headers:#x} bytes)")));
        }
        if let Some(other) = sections
            .iter()
            .find(|other| start < (other.start + other.virtual_size).next_multiple_of(4096) && other.start < end)
        {
            return Err(error(format!("over section {}", other.name)));
        }
        let raw = u64::from(section.pointer_to_raw_data.get(LE))
            + u64::from(section.size_of_raw_data.get(LE)).min(virtual_size);
        if section.size_of_raw_data.get(LE) != 0 && raw > file.len() as u64 {
            return Err(error(format!(
                "but its data ends at {raw:#x} of a file of {:#x} bytes: the file is truncated",
                file.len()
            )));
        }
        let characteristics = section.characteristics.get(LE);
        sections.push(Section { name, start, virtual_size, characteristics });
    }
    if sections.is_empty() {
        return Err(malformed("it has no sections"));
    }
    Ok(sections)
}

fn relocate(
    parsed: &PeFile64<'_>,
    file: &[u8],
    preferred: u64,
    base: u64,
    memory: &mut [u8],
    size: u64,
) -> Result<(), ImageError> {
    let delta = base.wrapping_sub(preferred);
    let Some(mut blocks) =
        parsed.data_directories().relocation_blocks(file, &parsed.section_table()).map_err(malformed)?
    else {
        // No directory at all: right for an image that holds no absolute address.
        return Ok(());
    };
    while let Some(block) = blocks.next().map_err(malformed)? {
        for relocation in block {
            let at = u64::from(relocation.virtual_address);
            match relocation.typ {
                pe::IMAGE_REL_BASED_ABSOLUTE => {}
                pe::IMAGE_REL_BASED_DIR64 => {
                    let Some(place) = (at + 8 <= size).then(|| &mut memory[at as usize..at as usize + 8]) else {
                        return Err(ImageError::Relocation { at, what: "outside of the image".into() });
                    };
                    let value = u64::from_le_bytes(place.try_into().expect("eight bytes"));
                    place.copy_from_slice(&value.wrapping_add(delta).to_le_bytes());
                }
                other => {
                    return Err(ImageError::Relocation { at, what: format!("type {other} is not one of x64's") });
                }
            }
        }
    }
    Ok(())
}

fn import(parsed: &PeFile64<'_>, memory: &mut [u8], size: u64, anything: bool) -> Result<(), ImageError> {
    let Some(table) = parsed.import_table().map_err(|error| malformed(format!("import directory: {error}")))? else {
        return Ok(());
    };
    let bad = |error: object::Error| malformed(format!("import directory: {error}"));
    let exports = export::all();
    let mut unknown = Vec::new();
    let mut descriptors = table.descriptors().map_err(bad)?;
    while let Some(descriptor) = descriptors.next().map_err(bad)? {
        let module = table.name(descriptor.name.get(LE)).map_err(bad)?;
        let module = String::from_utf8_lossy(module).into_owned();
        let names = match descriptor.original_first_thunk.get(LE) {
            0 => descriptor.first_thunk.get(LE),
            names => names,
        };
        let mut thunks = table.thunks(names).map_err(bad)?;
        let mut slot = u64::from(descriptor.first_thunk.get(LE));
        while let Some(thunk) = thunks.next::<pe::ImageNtHeaders64>().map_err(bad)? {
            let (address, label) = match table.import::<pe::ImageNtHeaders64>(thunk).map_err(bad)? {
                Import::Ordinal(ordinal) => (None, format!("{module}!#{ordinal}")),
                Import::Name(_, name) => {
                    let name = String::from_utf8_lossy(name);
                    (exports.find(&module, &name), format!("{module}!{name}"))
                }
            };
            match address.or_else(|| anything.then(|| export::stand_in(&label))) {
                None => unknown.push(label),
                Some(address) => {
                    let Some(place) = (slot + 8 <= size).then(|| &mut memory[slot as usize..slot as usize + 8]) else {
                        return Err(malformed(format!(
                            "the import address table at {slot:#x} lies outside of the image"
                        )));
                    };
                    place.copy_from_slice(&address.to_le_bytes());
                }
            }
            slot += 8;
        }
        if !anything && !exports.knows_module(&module) && !unknown.iter().any(|label| label.starts_with(&module)) {
            unknown.push(module);
        }
    }
    if unknown.is_empty() { Ok(()) } else { Err(ImageError::UnknownImports(unknown)) }
}

/// Gives each section its own rights and takes all from what lies between.
fn protect(mapping: &Mapping, sections: &[Section], headers: u64) {
    mapping.protect(0, mapping.size as u64, libc::PROT_NONE);
    mapping.protect(0, headers.next_multiple_of(4096), libc::PROT_READ);
    for section in sections {
        let mut protection = libc::PROT_NONE;
        if section.characteristics.contains(pe::IMAGE_SCN_MEM_READ) {
            protection |= libc::PROT_READ;
        }
        if section.characteristics.contains(pe::IMAGE_SCN_MEM_WRITE) {
            protection |= libc::PROT_WRITE;
        }
        if section.characteristics.contains(pe::IMAGE_SCN_MEM_EXECUTE) {
            protection |= libc::PROT_EXEC;
        }
        mapping.protect(section.start, section.virtual_size.next_multiple_of(4096), protection);
    }
}

/// Function symbols for reports: the COFF table where the image still has one, and its exports.
fn symbols(parsed: &PeFile64<'_>) -> BTreeMap<u64, String> {
    use object::{Object, ObjectSymbol};
    let base = parsed.nt_headers().optional_header().image_base();
    let mut symbols = BTreeMap::new();
    if let Ok(exports) = parsed.exports() {
        for export in exports.flatten() {
            if let object::ExportTarget::Address { address } = export.target() {
                let name = match export.name() {
                    object::NameOrOrdinal::Name(name) => String::from_utf8_lossy(name).into_owned(),
                    object::NameOrOrdinal::Ordinal(ordinal) => format!("#{ordinal}"),
                };
                symbols.insert(address.wrapping_sub(base), name);
            }
        }
    }
    for symbol in parsed.symbols() {
        if symbol.kind() == object::SymbolKind::Text
            && let Ok(name) = symbol.name()
        {
            symbols.insert(symbol.address().wrapping_sub(base), name.to_string());
        }
    }
    symbols
}
