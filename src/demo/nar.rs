//! The normalised archive format ("NAR") in which Guix and Nix ship store items.
//!
//! Everything in it is a string: eight bytes of little-endian length, the bytes, zeros up to a
//! multiple of eight. A node is a parenthesised list of such strings. There are no dates, no owners
//! and no modes but the executable bit, so the same files always give the same bytes, and the same
//! hash.

/// A file tree, as far as a NAR can tell it.
pub enum Node {
    /// A regular file.
    File {
        /// What is in it.
        contents: &'static [u8],
        /// Whether it may be run.
        executable: bool,
    },
    /// A symbolic link, and where it points.
    Symlink(&'static str),
    /// A directory: names and what they stand for, in any order.
    Directory(Vec<(&'static str, Node)>),
}

/// The NAR of `root`, whole, in memory: fine for a demo's few kilobytes.
pub fn serialise(root: &Node) -> Vec<u8> {
    let mut nar = Vec::new();
    write_string(&mut nar, b"nix-archive-1");
    write_node(&mut nar, root);
    nar
}

fn write_node(nar: &mut Vec<u8>, node: &Node) {
    write_strings(nar, &["(", "type"]);
    match node {
        Node::File { contents, executable } => {
            write_string(nar, b"regular");
            if *executable {
                write_strings(nar, &["executable", ""]);
            }
            write_string(nar, b"contents");
            write_string(nar, contents);
        }
        Node::Symlink(target) => write_strings(nar, &["symlink", "target", target]),
        Node::Directory(entries) => {
            write_string(nar, b"directory");
            // The format demands byte order, not the order of writing or of a locale.
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by_key(|(name, _)| *name);
            for (name, node) in entries {
                write_strings(nar, &["entry", "(", "name", name, "node"]);
                write_node(nar, node);
                write_string(nar, b")");
            }
        }
    }
    write_string(nar, b")");
}

fn write_strings(nar: &mut Vec<u8>, strings: &[&str]) {
    for string in strings {
        write_string(nar, string.as_bytes());
    }
}

fn write_string(nar: &mut Vec<u8>, bytes: &[u8]) {
    nar.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    nar.extend_from_slice(bytes);
    nar.resize(nar.len().next_multiple_of(8), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against `printf hello > f; nix-store --dump f` (Nix 2.8.0, Debian 12), byte by byte.
    #[test]
    fn a_single_file_is_what_nix_store_dump_writes() {
        let nar = serialise(&Node::File { contents: b"hello", executable: false });

        let expected: [&[u8]; 7] = [
            b"\x0d\0\0\0\0\0\0\0nix-arch",
            b"ive-1\0\0\0\x01\0\0\0\0\0\0\0",
            b"(\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0",
            b"type\0\0\0\0\x07\0\0\0\0\0\0\0",
            b"regular\0\x08\0\0\0\0\0\0\0",
            b"contents\x05\0\0\0\0\0\0\0",
            b"hello\0\0\0\x01\0\0\0\0\0\0\0",
        ];
        let mut expected = expected.concat();
        expected.extend_from_slice(b")\0\0\0\0\0\0\0");
        assert_eq!(nar, expected);
    }

    #[test]
    fn entries_are_written_in_byte_order_whatever_order_they_came_in() {
        let link = || Node::Symlink("target");
        let tidy = Node::Directory(vec![("B", link()), ("a", link()), ("a.b", link())]);
        let mixed = Node::Directory(vec![("a.b", link()), ("a", link()), ("B", link())]);

        assert_eq!(serialise(&mixed), serialise(&tidy));
    }

    #[test]
    fn strings_that_fill_their_last_eight_bytes_get_no_padding() {
        let mut nar = Vec::new();
        write_string(&mut nar, b"12345678");
        write_string(&mut nar, b"");

        assert_eq!(nar, b"\x08\0\0\0\0\0\0\x0012345678\0\0\0\0\0\0\0\0");
    }
}
