//! Archives: files that hold others (tar, packed or not, and zip), of which one is read.
//!
//! It is the member that was named, or the first by name that can be read; a warning says which others there are. Only the
//! headers of tar members and the directory of a zip archive are held; the member is read where it stands.

use std::io::{self, Read};

use rawzip::{CompressionMethod, ZipArchive};

use super::input::{Compression, Input, Packing, Part};
use super::text::shorten;
use crate::error::{Error, Place};
use crate::progress::Progress;
use crate::trace::Trace;

/// The most members that are looked at.
const MOST_MEMBERS: usize = 100_000;
/// The longest name of a member in tar's own extensions, in bytes: PATH_MAX of Linux.
const MOST_NAME: u64 = 4096;
/// Bytes of a header of tar.
const HEADER: usize = 512;
/// Bytes of a member that are enough to detect its format.
const HEAD: u64 = 64 * 1024;
/// How many names a message lists.
const SHOWN: usize = 5;

/// What is read of a file: itself, or a member of the archive that it is.
#[derive(Debug)]
pub(crate) struct Opened<'a> {
    name: String,
    bytes: &'a [u8],
    packing: Packing,
    /// What the reader of the trace should know.
    note: Option<String>,
}

impl Opened<'_> {
    /// The file.
    pub(crate) fn input(&self) -> Input<'_> {
        Input::member(&self.name, self.bytes, self.packing)
    }

    /// Adds to a trace read from it which member it is, where there were others.
    pub(crate) fn tell(self, trace: &mut Trace) {
        if let Some(note) = self.note {
            trace.warn(note);
        }
    }
}

/// A regular file in an archive.
struct Member<'a> {
    name: String,
    bytes: &'a [u8],
    packing: Packing,
    /// Whether it can be read.
    fits: bool,
}

/// Opens a file. Where it is an archive, its member with the name `member`, or the first by name which `fits`.
pub(crate) fn open<'a>(
    input: &Input<'a>,
    member: Option<&str>,
    fits: &dyn Fn(&Input<'_>) -> bool,
    progress: &mut dyn Progress,
) -> Result<Opened<'a>, Error> {
    let (bytes, packing) = input.packed();
    let head = input.head();
    let (kind, members) = if is_tar(&head) {
        ("tar", tar_members(input, member.is_none(), fits, progress)?)
    } else if is_zip(bytes) {
        ("zip", zip_members(input, fits)?)
    } else if let Some(member) = member {
        let problem = "the file is no archive and has no members";
        return Err(Error::field("member", format!("\"{}\"", shorten(member)), problem, "Leave the member out"));
    } else {
        return Ok(Opened { name: input.name.to_owned(), bytes, packing, note: None });
    };
    choose(input.name, kind, members, member)
}

/// The member that is read.
fn choose<'a>(
    archive: &str,
    kind: &str,
    mut members: Vec<Member<'a>>,
    wanted: Option<&str>,
) -> Result<Opened<'a>, Error> {
    members.sort_by(|a, b| a.name.cmp(&b.name));
    let list = |chosen: &dyn Fn(&Member<'_>) -> bool| {
        let mut names = members.iter().filter(|member| chosen(member)).map(|member| shorten(&member.name));
        let shown = names.by_ref().take(SHOWN).collect::<Vec<_>>().join(", ");
        if names.next().is_some() { format!("{shown}, ...") } else { shown }
    };
    let all = members.len();
    let (at, note) = if let Some(wanted) = wanted {
        let found = members.iter().position(|member| member.name == wanted).or_else(|| {
            // A file name alone will do where no other is the same.
            let ends = |member: &Member<'_>| member.name.rsplit('/').next() == Some(wanted);
            members.iter().position(ends).filter(|_| members.iter().filter(|member| ends(member)).count() == 1)
        });
        let at = found.ok_or_else(|| {
            let problem = format!("the archive has no such file, or several ({all} files: {})", list(&|_| true));
            Error::field("member", format!("\"{}\"", shorten(wanted)), problem, "Write the name as the archive has it")
        })?;
        (at, None)
    } else if let Some(at) = members.iter().position(|member| member.fits) {
        let fitting = members.iter().filter(|member| member.fits).count();
        let note = (fitting > 1).then(|| {
            let (names, read) = (list(&|member| member.fits), shorten(&members[at].name));
            format!("{fitting} files of the archive can be read ({names}), and {read} is; name another as the member")
        });
        (at, note)
    } else if all == 1 {
        // Its own reader says what is wrong with it.
        (0, None)
    } else {
        let pickle = members.iter().any(|member| member.name.ends_with("data.pkl"));
        let what = if pickle { "a PyTorch checkpoint (a zip archive)" } else { kind_of(kind) };
        let problem = match all {
            0 => format!("it is {what} without files"),
            _ => format!("it is {what}, and none of its {all} files can be read ({})", list(&|_| true)),
        };
        let cure = match pickle {
            true => "Save the weights as safetensors (safetensors.torch.save_file), or give the model's config.json",
            false => "Unpack it and give one of its files, or name one as the member with its format",
        };
        return Err(Error::input(archive, Place::Whole, problem, cure));
    };
    let Member { name, bytes, packing, .. } = members.swap_remove(at);
    Ok(Opened { name: format!("{archive}/{name}"), bytes, packing, note })
}

fn kind_of(kind: &str) -> &'static str {
    if kind == "tar" { "a tar archive" } else { "a zip archive" }
}

fn damaged(input: &Input<'_>, kind: &str, error: &dyn std::fmt::Display) -> Error {
    let problem = format!("the {kind} archive is damaged or cut off ({error})");
    Error::input(input.name, Place::Whole, problem, "Fetch the file again")
}

fn too_many(input: &Input<'_>) -> Error {
    Error::TooLarge {
        problem: format!("{} has more than {MOST_MEMBERS} files in it", input.name),
        cure: "Unpack it and give one of its files".into(),
    }
}

/// Whether a file is about others that systems put into archives.
fn is_shadow(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    name.starts_with("__MACOSX/") || file.starts_with("._") || file == ".DS_Store"
}

/// Whether `head` begins with a header of tar: its checksum is right. (Old archives have no magic number.)
fn is_tar(head: &[u8]) -> bool {
    let Some(bytes) = head.first_chunk::<HEADER>() else { return false };
    let header = tar::Header::from_byte_slice(bytes);
    // The sum is taken with blanks in its own place, bytes 148 to 155.
    let sum: u32 =
        bytes.iter().enumerate().map(|(at, byte)| u32::from(if (148..156).contains(&at) { b' ' } else { *byte })).sum();
    header.cksum().is_ok_and(|stated| stated == sum) && bytes[0] != 0
}

/// Whether a file begins with a member of zip, or is an empty archive.
fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06")
}

/// The files in a tar archive; whether they fit is only looked at where `choose` is to know it.
fn tar_members<'a>(
    input: &Input<'a>,
    choose: bool,
    fits: &dyn Fn(&Input<'_>) -> bool,
    progress: &mut dyn Progress,
) -> Result<Vec<Member<'a>>, Error> {
    let refuse = |error: io::Error| match input.error(&error) {
        Error::Cancelled => Error::Cancelled,
        _ => damaged(input, "tar", &error),
    };
    let (bytes, packing) = input.packed();
    let mut archive = tar::Archive::new(input.reader(progress));
    let mut members = Vec::new();
    // What an extension says of the next member: its name (GNU's L; path in POSIX' x).
    let mut long_name: Option<Vec<u8>> = None;
    for entry in archive.entries().map_err(refuse)?.raw(true) {
        let mut entry = entry.map_err(refuse)?;
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() || kind.is_pax_local_extensions() {
            let mut text = Vec::new();
            (&mut entry).take(MOST_NAME).read_to_end(&mut text).map_err(refuse)?;
            let path = || tar::PaxExtensions::new(&text).flatten().find(|extension| extension.key() == Ok("path"));
            let name = match kind.is_gnu_longname() {
                true => Some(text.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()),
                false => path().map(|extension| extension.value_bytes().to_vec()),
            };
            long_name = name.or(long_name);
            continue;
        }
        let name = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        let name = String::from_utf8_lossy(&name);
        let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
        if !(kind.is_file() || kind.is_contiguous()) || is_shadow(&name) {
            continue;
        }
        if members.len() == MOST_MEMBERS {
            return Err(too_many(input));
        }
        let (start, length) = (entry.raw_file_position(), entry.size());
        let mut head = Vec::new();
        (&mut entry).take(HEAD).read_to_end(&mut head).map_err(refuse)?;
        let (bytes, packing) = match (packing.outer, usize::try_from(start), usize::try_from(length)) {
            // It stands there as it is.
            (Compression::None, Ok(start), Ok(length)) => {
                let content = bytes.get(start..).unwrap_or_default();
                (&content[..length.min(content.len())], Packing::of(&head))
            }
            _ => {
                let inner = Packing::of(&head).outer;
                (bytes, Packing { part: Some(Part { start, length, sum: None }), inner, ..packing })
            }
        };
        let fits = choose && fits(&Input::new(&name, &head));
        members.push(Member { name, bytes, packing, fits });
    }
    Ok(members)
}

/// The files in a zip archive.
fn zip_members<'a>(input: &Input<'a>, fits: &dyn Fn(&Input<'_>) -> bool) -> Result<Vec<Member<'a>>, Error> {
    let refuse = |error: rawzip::Error| damaged(input, "zip", &error);
    let (bytes, _) = input.packed();
    let archive = ZipArchive::from_slice(bytes).map_err(refuse)?;
    let mut entries = archive.entries();
    let mut members = Vec::new();
    while let Some(entry) = entries.next_entry().map_err(refuse)? {
        let name = String::from_utf8_lossy(entry.file_path().as_ref()).into_owned();
        if entry.is_dir() || is_shadow(&name) {
            continue;
        }
        if members.len() == MOST_MEMBERS {
            return Err(too_many(input));
        }
        let outer = match entry.compression_method() {
            CompressionMethod::STORE => Compression::None,
            CompressionMethod::DEFLATE => Compression::Deflate,
            CompressionMethod::ZSTD => Compression::Zstd,
            _ => continue,
        };
        if entry.flags().is_encrypted() {
            continue;
        }
        let length = entry.uncompressed_size_hint();
        let part = Part { start: 0, length, sum: Some(entry.crc32()) };
        let (start, end) = archive.get_entry(entry.wayfinder()).map_err(refuse)?.compressed_data_range();
        let bytes =
            usize::try_from(start).ok().zip(usize::try_from(end).ok()).and_then(|(from, to)| bytes.get(from..to));
        let bytes = bytes.unwrap_or_default();
        let packing = Packing { outer, part: Some(part), inner: Compression::None };
        let inner = Packing::of(&Input::member(&name, bytes, packing).head()).outer;
        let packing = Packing { inner, ..packing };
        let fits = fits(&Input::member(&name, bytes, packing));
        members.push(Member { name, bytes, packing, fits });
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::import::{Format, detect};
    use crate::progress::Unattended;
    use crate::recipe::{FileSource, Workload};

    const CSV: &str = "time,obj_id,obj_size\n0,a,1\n1,b,2\n2,a,1\n";

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(content, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn zip(files: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
        let mut out = Vec::new();
        let mut archive = rawzip::ZipArchiveWriter::new(&mut out);
        for (name, content) in files {
            let (mut entry, config) = archive.new_file(*name).compression_method(method).start().unwrap();
            let descriptor = if method == CompressionMethod::DEFLATE {
                let mut writer =
                    config.wrap(flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::fast()));
                writer.write_all(content).unwrap();
                let (encoder, descriptor) = writer.finish().unwrap();
                encoder.finish().unwrap();
                descriptor
            } else {
                let mut writer = config.wrap(&mut entry);
                writer.write_all(content).unwrap();
                writer.finish().unwrap().1
            };
            entry.finish(descriptor).unwrap();
        }
        archive.finish().unwrap();
        out
    }

    fn read(bytes: &[u8], member: Option<&str>) -> Result<Trace, Error> {
        let source = FileSource { member: member.map(str::to_owned), ..FileSource::named("a.tar") };
        Workload::File(source).trace_with((1, 1), &Input::new("a.tar", bytes), &mut Unattended).map(|(trace, _)| trace)
    }

    /// The same files in every kind of archive.
    fn archives(files: &[(&str, &[u8])]) -> Vec<Vec<u8>> {
        let tar = tar(files);
        let zips = [CompressionMethod::STORE, CompressionMethod::DEFLATE].map(|method| zip(files, method));
        [vec![gzip(&tar), zstd(&tar), tar], zips.to_vec()].concat()
    }

    #[test]
    fn a_member_is_read_as_the_file_itself() {
        let wanted = read(CSV.as_bytes(), None).unwrap();
        let long = format!("{}trace.csv", "deep/".repeat(40));
        let (packed, packed_too) = (gzip(CSV.as_bytes()), zstd(CSV.as_bytes()));
        for content in [CSV.as_bytes(), &packed, &packed_too] {
            for name in ["trace.csv", long.as_str()] {
                let files =
                    [("README.md", &b"# Notes\n"[..]), ("._trace.csv", CSV.as_bytes()), (name, content), ("z", b"")];
                for bytes in archives(&files) {
                    assert_eq!(read(&bytes, None).unwrap(), wanted, "{name}");
                    assert_eq!(read(&bytes, Some(name)).unwrap(), wanted, "{name}");
                    assert_eq!(read(&bytes, Some("trace.csv")).unwrap(), wanted, "{name}");
                }
            }
        }
    }

    #[test]
    fn of_several_the_first_by_name_is_read_and_told() {
        let other = CSV.replace("b,2", "b,9");
        for bytes in archives(&[("rank.1.csv", other.as_bytes()), ("rank.0.csv", CSV.as_bytes())]) {
            let trace = read(&bytes, None).unwrap();
            assert_eq!(trace.sizes(), [1, 2]);
            let note = "2 files of the archive can be read (rank.0.csv, rank.1.csv), and rank.0.csv is; name another";
            assert!(trace.warnings().iter().any(|w| w.starts_with(note)), "{:?}", trace.warnings());
            assert_eq!(read(&bytes, Some("rank.1.csv")).unwrap().sizes(), [1, 9]);
            let error = read(&bytes, Some("rank.2.csv")).unwrap_err();
            assert_eq!(error.field_name(), Some("member"));
            assert!(error.to_string().contains("(2 files: rank.0.csv, rank.1.csv)"), "{error}");
        }
        let error = read(CSV.as_bytes(), Some("x")).unwrap_err();
        assert!(error.to_string().contains("the file is no archive"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_told() {
        for bytes in archives(&[("a.txt", b"hello"), ("b.txt", b"world")]) {
            let error = read(&bytes, None).unwrap_err().to_string();
            assert!(
                error.contains("archive, and none of its 2 files can be read (a.txt, b.txt). Unpack it"),
                "{error}"
            );
        }
        for bytes in archives(&[("a.csv", b"time,obj_id,obj_size\n0,a,x\n")]) {
            let error = read(&bytes, None).unwrap_err().to_string();
            assert!(error.starts_with("a.tar/a.csv, line 2: the size in column 3 is \"x\""), "{error}");
        }
        for bytes in archives(&[("model/data.pkl", b"\x80\x02"), ("model/data/0", b"")]) {
            let error = read(&bytes, None).unwrap_err().to_string();
            assert!(
                error.contains("it is a PyTorch checkpoint") && error.contains("Save the weights as safe"),
                "{error}"
            );
        }
        let good = zip(&[("a.csv", CSV.as_bytes())], CompressionMethod::STORE);
        let mut wrong = good.clone();
        let at = wrong.windows(5).position(|part| part == b"0,a,1").unwrap();
        wrong[at + 4] = b'7';
        for (bytes, wanted) in [
            (&wrong[..], "damaged or cut off (its checksum is another)"),
            (&good[..good.len() - 30], "the zip archive is damaged or cut off"),
            (b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "it is a zip archive without files"),
        ] {
            let error = read(bytes, None).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
        let whole = tar(&[("a.csv", CSV.as_bytes()), ("b.csv", CSV.as_bytes())]);
        let error = read(&whole[..700], None).unwrap_err().to_string();
        assert!(error.contains("the tar archive is damaged or cut off"), "{error}");
    }

    #[test]
    fn models_and_named_formats_are_found() {
        let topology = b"Layer, M, N, K,\ng1,100,30,20,\n";
        for bytes in archives(&[("0.csv", CSV.as_bytes()), ("m.csv", topology)]) {
            let source = FileSource { format: Some(Format::ScaleSim), ..FileSource::named("a.zip") };
            let (_, format) =
                Workload::File(source).trace_with((1, u64::MAX), &Input::new("a", &bytes), &mut Unattended).unwrap();
            assert_eq!(format, Format::ScaleSim);
            let input = Input::new("a", &bytes);
            let opened = open(&input, None, &|file| detect(file).is_ok_and(Format::is_model), &mut Unattended).unwrap();
            assert_eq!(opened.input().name, "a/m.csv");
        }
    }

    proptest! {
        #[test]
        fn any_damage_is_read_or_refused(kind in 0..5usize, at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
            let mut bytes = archives(&[("a.csv", CSV.as_bytes()), ("b.csv", CSV.as_bytes())]).swap_remove(kind);
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] = byte }
            if let Err(error) = read(&bytes, None) {
                prop_assert!(!matches!(error, Error::Internal(_)), "{error}");
            }
        }
    }
}
