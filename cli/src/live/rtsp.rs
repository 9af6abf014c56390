//! Serves the anonymised picture by RTSP: one encoder for all clients, running only while somebody
//! looks.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, anyhow};
use gst::glib;
use gst::prelude::*;
use gst_rtsp_server::prelude::*;
use gst_rtsp_server::{RTSPMediaFactory, RTSPServer};

use super::args::Args;
use super::hub::{Feed, Hub, lock};
use super::outlet::{self, Shape};

/// A server with its thread.
#[derive(Debug)]
pub(crate) struct Server {
    main_loop: glib::MainLoop,
    thread: Option<std::thread::JoinHandle<()>>,
    feeds: Arc<Mutex<Vec<Arc<Feed>>>>,
    hub: Arc<Hub>,
    port: u16,
}

impl Server {
    /// Listens at `host:port` and serves `path`.
    ///
    /// # Errors
    /// The port is taken or may not be used.
    pub(crate) fn start(host: &str, port: u16, path: &str, args: &Args, shape: Shape, hub: &Arc<Hub>) -> Result<Self> {
        let context = glib::MainContext::new();
        let server = RTSPServer::new();
        server.set_address(host);
        server.set_service(&port.to_string());
        let feeds = Arc::<Mutex<Vec<Arc<Feed>>>>::default();
        let factory = RTSPMediaFactory::new();
        factory.set_shared(true);
        factory.set_launch(&describe(args, shape));
        let (to, kept) = (Arc::clone(hub), Arc::clone(&feeds));
        factory.connect_media_configure(move |_, media| {
            let Some(feed) = media.element().downcast::<gst::Bin>().ok().and_then(|bin| outlet::feed(&bin).ok()) else {
                return;
            };
            to.add(&feed);
            lock(&kept).push(Arc::clone(&feed));
            let (from, kept) = (Arc::clone(&to), Arc::clone(&kept));
            media.connect_unprepared(move |_| {
                from.remove(&feed);
                lock(&kept).retain(|other| !Arc::ptr_eq(other, &feed));
            });
        });
        server
            .mount_points()
            .context("an RTSP server without mount points")?
            .add_factory(path, factory);
        let attached = context
            .with_thread_default(|| server.attach(Some(&context)))
            .map_err(|e| anyhow!("the RTSP server cannot start: {e}"))?;
        attached.map_err(|_| {
            anyhow!("rtsp://{host}:{port}{path}: nobody can be served there, the port is taken or the address is not of this machine; choose another port")
        })?;
        let bound = u16::try_from(server.bound_port()).unwrap_or(port);
        let main_loop = glib::MainLoop::new(Some(&context), false);
        let (running, context_of) = (main_loop.clone(), context);
        let thread = std::thread::Builder::new().name("nullface-rtsp".to_owned()).spawn(move || {
            let _server = server;
            // Acquiring it cannot fail: nobody else has it.
            let _ = context_of.with_thread_default(|| running.run());
        })?;
        Ok(Self {
            main_loop,
            thread: Some(thread),
            feeds,
            hub: Arc::clone(hub),
            port: bound,
        })
    }

    /// The port it listens at.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for feed in lock(&self.feeds).drain(..) {
            feed.end();
            self.hub.remove(&feed);
        }
        self.main_loop.quit();
        if let Some(thread) = self.thread.take() {
            // It ends with its loop; a panic in it was said already.
            let _ = thread.join();
        }
    }
}

/// What is encoded waits here until it is its time: a server's sinks hold the sound's delay, and before the
/// encoder there is room for a few pictures only.
const WAIT: &str = "queue max-size-time=3000000000 max-size-buffers=0 max-size-bytes=0";

fn describe(args: &Args, shape: Shape) -> String {
    let sound = if shape.sound {
        format!(" {} ! {WAIT} ! rtpmp4gpay name=pay1 pt=97", outlet::aac())
    } else {
        String::new()
    };
    format!(
        "( {} ! {WAIT} ! rtph264pay name=pay0 pt=96 config-interval=-1{sound} )",
        outlet::h264(args, shape)
    )
}
