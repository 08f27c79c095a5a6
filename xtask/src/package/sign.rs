//! The images' signatures: by osslsigncode, on Windows by signtool.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::say;

/// What the certificate is for, and on whose host: it signs, and vouches for nobody else.
const SUBJECT: &str = "Postern test certificate";
/// A test host that needs longer gets a new package.
const DAYS: &str = "365";

/// Programs, and the Debian packages that have them.
const PROGRAMS: &[(&str, &str)] = &[("osslsigncode", "osslsigncode"), ("openssl", "openssl")];

/// Installs what signs, where it is missing.
pub fn install(root: &Path) -> Result<()> {
    if cfg!(windows) { Ok(()) } else { xwdk::install_programs(root, PROGRAMS, &mut say) }
}

/// Signs images with a certificate that is made here, and leaves the certificate without its key at `certificate`.
pub fn sign(root: &Path, images: &[PathBuf], certificate: &Path) -> Result<()> {
    if cfg!(windows) { windows::sign(images, certificate) } else { here::sign(root, images, certificate) }
}

/// Checks that `certificate` signed the image as it is.
///
/// The signature covers what the loader uses, and the checksum each byte: also those of the signature itself that nothing signs.
pub fn verify(root: &Path, image: &Path, certificate: &Path) -> Result<()> {
    let bytes = fs::read(image).with_context(|| format!("cannot read {}", image.display()))?;
    ensure!(
        checksum_is_right(&bytes).unwrap_or(false),
        "{}: the checksum in the image's header is not that of its bytes: the image was changed",
        image.display()
    );
    let verified =
        if cfg!(windows) { windows::verify(image, certificate) } else { here::verify(root, image, certificate) };
    verified.with_context(|| format!("{}: the signature is not that of {}", image.display(), certificate.display()))
}

/// Whether the header's checksum is that of the file, or `None` if it is no image. The kernel compares it when it loads a driver.
pub fn checksum_is_right(image: &[u8]) -> Option<bool> {
    let place = checksum_place(image)?;
    let stored = u32::from_le_bytes(image.get(place..place + 4)?.try_into().ok()?);
    Some(stored == checksum(image, place))
}

/// The image with the checksum that its bytes have.
#[cfg(test)]
pub fn with_checksum(mut image: Vec<u8>) -> Vec<u8> {
    let place = checksum_place(&image).unwrap();
    let sum = checksum(&image, place);
    image[place..place + 4].copy_from_slice(&sum.to_le_bytes());
    image
}

/// Where the optional header has it.
fn checksum_place(image: &[u8]) -> Option<usize> {
    let header = u32::from_le_bytes(image.get(0x3c..0x40)?.try_into().ok()?);
    let header = usize::try_from(header).ok()?;
    image.get(header..header.checked_add(4)?).filter(|magic| *magic == b"PE\0\0")?;
    // The signature, the file header, and what stands before the checksum.
    Some(header + 4 + 20 + 64)
}

/// The ones' complement sum of the file's words without the checksum itself, plus the file's length.
fn checksum(image: &[u8], place: usize) -> u32 {
    let mut sum: u32 = 0;
    for (index, word) in image.chunks(2).enumerate() {
        let offset = index * 2;
        if (place..place + 4).contains(&offset) {
            continue;
        }
        sum += u32::from(u16::from_le_bytes([word[0], word.get(1).copied().unwrap_or(0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum + image.len() as u32
}

/// On Linux.
mod here {
    use super::*;

    pub fn sign(root: &Path, images: &[PathBuf], certificate: &Path) -> Result<()> {
        // Only its owner may enter it; it goes with the key when this returns.
        let folder = TempDir::new().context("cannot create a folder for the key")?;
        let (key, pem) = (folder.path().join("key.pem"), folder.path().join("certificate.pem"));
        let subject = format!("/CN={SUBJECT}");
        run(xwdk::program(root, "openssl")?
            .args(["req", "-x509", "-newkey", "rsa:3072", "-sha256", "-nodes", "-days", DAYS, "-subj", &subject])
            .args(["-addext", "basicConstraints=critical,CA:false"])
            .args(["-addext", "keyUsage=critical,digitalSignature"])
            .args(["-addext", "extendedKeyUsage=codeSigning"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&pem))?;
        run(xwdk::program(root, "openssl")?
            .args(["x509", "-outform", "DER", "-in"])
            .arg(&pem)
            .arg("-out")
            .arg(certificate))?;
        for image in images {
            let signed = folder.path().join("signed.sys");
            run(xwdk::program(root, "osslsigncode")?
                .args(["sign", "-h", "sha256", "-n", "Postern"])
                .arg("-certs")
                .arg(&pem)
                .arg("-key")
                .arg(&key)
                .arg("-in")
                .arg(image)
                .arg("-out")
                .arg(&signed))?;
            fs::copy(&signed, image).with_context(|| format!("cannot write {}", image.display()))?;
            // osslsigncode does not write over a file.
            fs::remove_file(&signed)?;
        }
        Ok(())
    }

    pub fn verify(root: &Path, image: &Path, certificate: &Path) -> Result<()> {
        let folder = TempDir::new().context("cannot create a folder for the certificate")?;
        let pem = folder.path().join("certificate.pem");
        run(xwdk::program(root, "openssl")?
            .args(["x509", "-inform", "DER", "-in"])
            .arg(certificate)
            .arg("-out")
            .arg(&pem))?;
        run(xwdk::program(root, "osslsigncode")?.arg("verify").arg("-CAfile").arg(&pem).arg("-in").arg(image))
    }
}

/// On Windows, with the WDK's signtool. The certificate's key stays in the user's store only while it is needed.
mod windows {
    use super::*;

    pub fn sign(images: &[PathBuf], certificate: &Path) -> Result<()> {
        let thumbprint = powershell(&format!(
            "$c = New-SelfSignedCertificate -Type CodeSigningCert -Subject 'CN={SUBJECT}' -KeyLength 3072 -HashAlgorithm SHA256 \
             -CertStoreLocation Cert:\\CurrentUser\\My -NotAfter (Get-Date).AddDays({DAYS}); \
             Export-Certificate -Cert $c -FilePath '{}' | Out-Null; $c.Thumbprint",
            quoted(certificate)
        ))?;
        let thumbprint = thumbprint.trim();
        let signed = images.iter().try_for_each(|image| {
            run(Command::new("signtool")
                .args(["sign", "/fd", "sha256", "/d", "Postern", "/sha1", thumbprint])
                .arg(image))
            .context("signtool is the WDK's; run this in its developer prompt")
        });
        powershell(&format!("Remove-Item -DeleteKey 'Cert:\\CurrentUser\\My\\{thumbprint}'"))?;
        signed
    }

    /// `UnknownError` is that of a chain which this machine does not trust, as it need not; a changed image is a `HashMismatch`.
    pub fn verify(image: &Path, certificate: &Path) -> Result<()> {
        powershell(&format!(
            "$s = Get-AuthenticodeSignature -LiteralPath '{}'; $c = Get-PfxCertificate -LiteralPath '{}'; \
             if ($s.Status -notin 'Valid', 'UnknownError' -or $s.SignerCertificate.Thumbprint -ne $c.Thumbprint) \
             {{ throw \"$($s.Status): $($s.StatusMessage)\" }}",
            quoted(image),
            quoted(certificate)
        ))
        .map(drop)
    }

    fn powershell(command: &str) -> Result<String> {
        let output = Command::new("powershell.exe")
            .args(["-NoProfile", "-Command", &format!("$ErrorActionPreference = 'Stop'; {command}")])
            .output()
            .context("cannot run powershell.exe")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Within single quotation marks.
    fn quoted(path: &Path) -> String {
        path.display().to_string().replace('\'', "''")
    }
}

/// Runs a program silently; what it says is part of the error.
fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{name} failed ({}):\n{}", output.status, String::from_utf8_lossy(&said).trim());
    }
    Ok(())
}
