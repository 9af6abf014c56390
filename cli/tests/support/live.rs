//! What the tests of live work share: the command as a process whose words can be waited for,
//! servers on the loopback address, and a way to ask a page.
//!
//! Nothing here waits for a time: it waits for words and files, and gives up after a generous while.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// After this much silence a test has failed.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// A port that is free now.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|l| l.local_addr())
        .expect("a free port")
        .port()
}

/// A process that is ended with the test, and what it says.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    heard: Vec<String>,
}

impl Running {
    /// Starts `nullface live`.
    pub fn live(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nullface"));
        command.arg("live").args(args);
        Self::start(command)
    }

    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?} does not start: {e}"));
        let (to, lines) = channel();
        let said = BufReader::new(child.stderr.take().expect("stderr"));
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                if to.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            lines,
            heard: Vec::new(),
        }
    }

    /// Waits for a line that holds `word`, and gives it.
    pub fn wait_for(&mut self, word: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.heard.push(line.clone());
                    if line.contains(word) {
                        return line;
                    }
                }
                Err(_) => panic!("never said `{word}`:\n{}", self.heard.join("\n")),
            }
        }
    }

    /// Fails with what it said where it has ended by itself.
    pub fn goes_on(&mut self) {
        if let Some(status) = self.child.try_wait().expect("wait") {
            self.heard.extend(self.lines.try_iter());
            panic!("ended by itself ({status}):\n{}", self.heard.join("\n"));
        }
    }

    /// Asks it to end as Ctrl-C does.
    pub fn interrupt(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    }

    /// Waits for its end; its exit code and all that it said.
    pub fn end(&mut self) -> (i32, String) {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().expect("wait") {
                Some(status) => break status,
                None if Instant::now() > until => panic!("does not end:\n{}", self.heard.join("\n")),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(5)) {
            self.heard.push(line);
        }
        (status.code().unwrap_or(-1), self.heard.join("\n"))
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// nginx with its RTMP module on the loopback address.
pub fn rtmp_server(folder: &Path, port: u16) -> Running {
    std::fs::create_dir_all(folder).expect("folder");
    let conf = folder.join("nginx.conf");
    let text = format!(
        "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;\ndaemon off;\nmaster_process off;\n\
         pid {0}/nginx.pid;\nerror_log stderr info;\nevents {{}}\n\
         rtmp {{ server {{ listen 127.0.0.1:{port}; chunk_size 4096; application live {{ live on; }} }} }}\n",
        folder.display()
    );
    std::fs::write(&conf, text).expect("configuration");
    let mut command = Command::new("/usr/sbin/nginx");
    command.args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(&conf);
    let server = Running::start(command);
    until("the RTMP server listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    server
}

/// An answer to a request.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

/// Asks a page of this machine. `headers` replace the usual `Host`.
pub fn ask(port: u16, request: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let mut text = format!("{request} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|h| h.0 == "Host") {
        text += &format!("Host: 127.0.0.1:{port}\r\n");
    }
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    text += body;
    stream.write_all(text.as_bytes()).expect("asks");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("answers");
    let split = all.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&all[..split]).into_owned();
    Answer {
        status: head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status"),
        head,
        body: all[split + 4..].to_vec(),
    }
}

/// Port of an address that ends a line: `… http://127.0.0.1:PORT/`.
pub fn port_of(line: &str) -> u16 {
    let port = line.trim().trim_end_matches('/').rsplit(':').next();
    port.and_then(|p| p.parse().ok()).expect("a port")
}
