//! Secrets of servers and clouds: files that nobody else on the host may read, and values that do not print.

use std::{fmt, os::unix::fs::PermissionsExt as _, path::Path};
use zeroize::Zeroizing;

/// No key and no token is longer, in bytes.
const LONGEST: u64 = 4096;

/// A secret's text.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) Zeroizing<String>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// The one line of a file that only its owner and its group may read.
pub(crate) fn read(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let about = std::fs::metadata(path).map_err(|error| format!("read {shown}: {error}"))?;
    if about.permissions().mode() & 0o007 != 0 {
        return Err(format!("everybody on this host may read {shown}: chmod 600 {shown}"));
    }
    if about.len() > LONGEST {
        return Err(format!("{shown} has {} bytes and is no secret", about.len()));
    }
    let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| format!("read {shown}: {error}"))?;
    let line = text.trim();
    if line.is_empty() || !line.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{shown} is not one line of visible characters"));
    }
    Ok(Secret(Zeroizing::new(line.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_secret_that_everybody_may_read_is_refused_and_none_is_printed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "c2VjcmV0\n").unwrap();
        let chmod = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        chmod(0o644);
        assert!(read(&path).unwrap_err().contains("chmod 600"));
        chmod(0o640);
        let secret = read(&path).unwrap();
        assert_eq!((secret.0.as_str(), format!("{secret:?}").as_str()), ("c2VjcmV0", "Secret(hidden)"));
        fs::write(&path, "two\nlines").unwrap();
        assert!(read(&path).unwrap_err().contains("one line"));
        assert!(read(Path::new("/nowhere/key")).unwrap_err().contains("/nowhere/key"));
    }
}
