//! The phones' files with clients that we did not write: curl, tftp-hpa, atftp, busybox. Same file, same bytes.

use std::path::PathBuf;

use crate::agent::{Agent, Setup};
use crate::lab::{self, Host, Lab};

const SERVER: &str = "192.168.1.35";

/// A client and the command that fetches `{file}` into `{to}`.
struct Client {
    program: &'static str,
    command: &'static str,
}

const HTTP: Client =
    Client { program: "curl", command: "curl -sSf -m 120 -o {to} http://192.168.1.35:8480/{file}" };
/// Without options, blocks have 512 bytes: the oldest phones' way, and the one in which block numbers wrap.
const TFTP: &[Client] = &[
    Client {
        program: "curl",
        command: "curl -sSf -m 120 --tftp-no-options -o {to} tftp://192.168.1.35/{file}",
    },
    Client { program: "tftp", command: "tftp -m binary 192.168.1.35 -c get {file} {to}" },
    Client { program: "atftp", command: "atftp -g -r {file} -l {to} 192.168.1.35" },
    Client { program: "busybox", command: "busybox tftp -g -r {file} -l {to} 192.168.1.35" },
];
/// With the options these clients can ask for.
const TFTP_OPTIONS: &[Client] = &[
    Client {
        program: "curl",
        command: "curl -sSf -m 120 --tftp-blksize 1428 -o {to} tftp://192.168.1.35/{file}",
    },
    Client {
        program: "atftp",
        command: "atftp --option 'blksize 1428' --option 'windowsize 16' --option 'tsize 0' -g -r {file} -l {to} 192.168.1.35",
    },
    Client { program: "busybox", command: "busybox tftp -b 1428 -g -r {file} -l {to} 192.168.1.35" },
];

impl Client {
    /// Fetches the file and compares it; one line with the time it took.
    fn fetch(&self, lab: &Lab, host: &Host, file: &str, expected: &[u8]) {
        let to: PathBuf = lab.folder().join(format!("got-{}", self.program));
        let command = self.command.replace("{file}", file).replace("{to}", &to.to_string_lossy());
        let begun = std::time::Instant::now();
        host.run(&["sh", "-c", &command]);
        let got = std::fs::read(&to).unwrap_or_default();
        assert!(got == expected, "{command}: {} bytes came, {} are right", got.len(), expected.len());
        println!("{:6.2} s  {command}", begun.elapsed().as_secs_f64());
        let _ = std::fs::remove_file(to);
    }
}

/// An agent that serves files of these lengths as firmware of a vendor, and a phone; `test` gets each path and content.
fn serve(lab: &Lab, lengths: &[usize], test: impl Fn(&Host, &str, &[u8])) {
    let server = lab.host("agent", "192.168.1.35/24");
    let folder = lab.folder().join("data/files/firmware/yealink");
    std::fs::create_dir_all(&folder).unwrap();
    for length in lengths {
        std::fs::write(folder.join(format!("{length}.rom")), content(*length)).unwrap();
    }
    let _agent = Agent::start(lab, &server, &Setup::default());
    let phone = lab.phone("phone", "00:15:65:f4:f9:e1", "lan", "192.168.1.100/24");
    for length in lengths {
        test(&phone, &format!("firmware/yealink/{length}.rom"), &content(*length));
    }
}

/// Not a pattern that repeats with the blocks, or a swapped block would go unseen.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap()).collect()
}

#[test]
fn every_client_fetches_the_same_bytes() {
    lab::run("files::every_client_fetches_the_same_bytes", |lab| {
        // Lengths around a block's: the last block is short, full or empty.
        serve(lab, &[1, 511, 512, 513, 1428, 100_000], |phone, file, bytes| {
            for client in std::iter::once(&HTTP).chain(TFTP).chain(TFTP_OPTIONS) {
                if lab::has(client.program) {
                    client.fetch(lab, phone, file, bytes);
                }
            }
        });
    });
}

#[test]
fn forty_megabytes_in_blocks_of_512() {
    lab::run("files::forty_megabytes_in_blocks_of_512", |lab| {
        serve(lab, &[40 * 1024 * 1024], |phone, file, bytes| {
            for client in std::iter::once(&HTTP).chain(TFTP) {
                if lab::has(client.program) {
                    client.fetch(lab, phone, file, bytes);
                }
            }
        });
    });
}

#[test]
fn a_part_of_a_firmware_is_served() {
    lab::run("files::a_part_of_a_firmware_is_served", |lab| {
        serve(lab, &[10_000], |phone, file, bytes| {
            let to = lab.folder().join("part");
            let url = format!("http://{SERVER}:8480/{file}");
            phone.run(&["curl", "-sSf", "-r", "1000-1999", "-o", &to.to_string_lossy(), &url]);
            assert!(std::fs::read(to).unwrap() == bytes[1000..2000]);
        });
    });
}
