//! The image: one layer with one file, made in memory.

use std::io;

/// A tar archive with `/payload` and nothing else. Always the same bytes for the same payload.
///
/// # Errors
/// None that memory does not have.
pub fn layer(payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o555);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(payload.len() as u64);
    builder.append_data(&mut header, "payload", payload)?;
    builder.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_layer_holds_the_payload_and_nothing_else() {
        let bytes = layer(b"the bytes").unwrap();
        assert_eq!(bytes, layer(b"the bytes").unwrap());
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut entries = archive.entries().unwrap();
        let mut entry = entries.next().unwrap().unwrap();
        assert_eq!(entry.path().unwrap().to_str(), Some("payload"));
        assert_eq!(entry.header().mode().unwrap(), 0o555);
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        assert_eq!(content, b"the bytes");
        assert!(entries.next().is_none());
    }
}
