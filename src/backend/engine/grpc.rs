//! gRPC to a daemon's Unix socket. Calls are carried out by a thread of their own, so that each is a
//! descriptor that can be waited for beside the payload's output, with a deadline and an ear for the
//! user; several can be under way. What that costs is two wake-ups a call.
//!
//! Messages are declared by hand, only the fields in use (`#[derive(prost::Message)]`): no `protoc`, no
//! copies of the daemons' interface files.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::thread::JoinHandle;

use prost::Message;
use tokio::sync::oneshot;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::CLEAN_UP;
use super::command::{Answering, Impatience, Patience};
use crate::sys::fd;
use crate::trial::{EngineEnd, EngineFailure, Failure, PhaseLog};

type Job = Box<dyn FnOnce(Channel) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// A connection to a daemon.
pub struct Grpc {
    jobs: Option<tokio::sync::mpsc::UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// containerd's namespace, told with each call.
    namespace: Option<&'static str>,
}

/// A call under way. Dropping it cancels it, which the daemon is told.
pub struct Call<A> {
    /// Its other end is closed when the call is over.
    done: OwnedFd,
    answer: oneshot::Receiver<Result<A, tonic::Status>>,
    method: &'static str,
}

impl Grpc {
    /// Connects, at the first call.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn new(socket: &Path, namespace: Option<&'static str>) -> io::Result<Self> {
        let (jobs, queue) = tokio::sync::mpsc::unbounded_channel();
        let socket = socket.to_path_buf();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let thread = std::thread::Builder::new().name("grpc".to_owned());
        let thread = thread.spawn(move || serve(&runtime, socket, queue))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
            namespace,
        })
    }

    /// Sends a request, `/package.Service/Method`.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn send<Q, A>(&self, method: &'static str, request: Q) -> io::Result<Call<A>>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let (done, end) = fd::pipe()?;
        let (mut sender, answer) = oneshot::channel();
        let namespace = self.namespace;
        let job: Job = Box::new(move |channel| {
            Box::pin(async move {
                let mut call = pin!(unary(channel, method, namespace, request));
                let said = std::future::poll_fn(|context| {
                    // Whoever asked has given up: the call ends with this future.
                    if sender.poll_closed(context).is_ready() {
                        return Poll::Ready(None);
                    }
                    call.as_mut().poll(context).map(Some)
                });
                if let Some(said) = said.await {
                    // Given up just now.
                    let _ = sender.send(said);
                }
                drop(end);
            })
        });
        let sent = self.jobs.as_ref().map(|jobs| jobs.send(job));
        match sent {
            Some(Ok(())) => Ok(Call {
                done,
                answer,
                method,
            }),
            _ => Err(io::Error::other("the thread for calls has ended")),
        }
    }

    /// Sends a request and waits for the answer. Where the user wants no more, none is sent.
    ///
    /// # Errors
    /// The daemon refuses, has gone, or is too slow.
    pub fn ask<Q, A>(
        &self,
        method: &'static str,
        request: Q,
        patience: Patience,
    ) -> Result<A, NoAnswer>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let answering = Answering::begin(patience).map_err(|why| impatient(method, why))?;
        let call = self.send(method, request);
        let call = call.map_err(|error| NoAnswer::Engine {
            method,
            how: error.into(),
        })?;
        call.wait_as(answering)
    }
}

impl Grpc {
    /// A step of clean-up, timed. What is not there any more was removed already.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn undo<Q, A>(
        &self,
        phase: &'static str,
        method: &'static str,
        request: Q,
        teardown: &mut PhaseLog,
    ) -> Result<Option<A>, NoAnswer>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let patience = Patience::to_clean_up(CLEAN_UP);
        match teardown.time(phase, || self.ask(method, request, patience)) {
            Ok(answer) => Ok(Some(answer)),
            Err(NoAnswer::NotFound) => Ok(None),
            Err(why) => Err(why),
        }
    }
}

impl Drop for Grpc {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread for calls has panicked");
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// The user wants no more.
    Interrupted,
    /// There is no such thing: gone already, or never made.
    NotFound,
    /// The daemon's doing.
    Engine {
        /// What was asked.
        method: &'static str,
        /// What came of it.
        how: EngineEnd,
    },
}

impl NoAnswer {
    /// As a failure, with what the daemon logged.
    #[must_use]
    pub fn failure(self, engine: &str, tail: String) -> Failure {
        let (method, how) = match self {
            Self::Interrupted => return Failure::Interrupted,
            Self::NotFound => ("", EngineEnd::Refused("not found".to_owned())),
            Self::Engine { method, how } => (method, how),
        };
        let method = method.rsplit('.').next().unwrap_or(method);
        EngineFailure {
            command: format!("{engine} {method}"),
            how,
            tail,
        }
        .into()
    }

    /// Whether the daemon cannot be spoken to at all.
    #[must_use]
    pub const fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Engine {
                how: EngineEnd::Unreachable(_) | EngineEnd::Timeout(_),
                ..
            }
        )
    }
}

impl<A> Call<A> {
    /// Readable once it is over.
    #[must_use]
    pub fn done(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// As [`Grpc::ask`].
    pub fn wait(self, patience: Patience) -> Result<A, NoAnswer> {
        let answering = Answering::begin(patience);
        let answering = answering.map_err(|why| impatient(self.method, why))?;
        self.wait_as(answering)
    }

    fn wait_as(self, mut answering: Answering) -> Result<A, NoAnswer> {
        let method = self.method;
        let engine = |how| NoAnswer::Engine { method, how };
        loop {
            let time = answering.slice().map_err(|why| impatient(method, why))?;
            let ready = fd::any_readable([Some(self.done.as_fd())], time);
            let [ready] = ready.map_err(|error| engine(error.into()))?;
            if ready {
                return self.take();
            }
        }
    }

    /// The answer, now that the call is over.
    ///
    /// # Errors
    /// As [`Grpc::ask`].
    pub fn take(self) -> Result<A, NoAnswer> {
        use tonic::Code;
        let engine = |how| NoAnswer::Engine {
            method: self.method,
            how,
        };
        let status = match self.answer.blocking_recv() {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(status)) => status,
            Err(_) => return Err(engine(unreachable("the connection was given up"))),
        };
        Err(match status.code() {
            Code::NotFound => NoAnswer::NotFound,
            // What tonic says of a connection that is not there or breaks off; daemons use neither.
            Code::Unavailable | Code::Cancelled => engine(unreachable(status.message())),
            _ if status.message().contains("transport error") => {
                engine(unreachable(status.message()))
            }
            code => engine(EngineEnd::Refused(format!(
                "{code:?}: {}",
                status.message()
            ))),
        })
    }
}

fn impatient(method: &'static str, why: Impatience) -> NoAnswer {
    match why {
        Impatience::Interrupted => NoAnswer::Interrupted,
        Impatience::Timeout(allowed) => NoAnswer::Engine {
            method,
            how: EngineEnd::Timeout(allowed),
        },
    }
}

fn unreachable(what: &str) -> EngineEnd {
    EngineEnd::Unreachable(io::Error::other(what.to_owned()))
}

fn serve(
    runtime: &tokio::runtime::Runtime,
    socket: PathBuf,
    mut queue: tokio::sync::mpsc::UnboundedReceiver<Job>,
) {
    let local = tokio::task::LocalSet::new();
    local.block_on(runtime, async move {
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move {
                let stream = tokio::net::UnixStream::connect(socket).await;
                stream.map(hyper_util::rt::TokioIo::new)
            }
        });
        // The name goes into a header and nowhere else.
        let channel =
            Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        while let Some(job) = queue.recv().await {
            tokio::task::spawn_local(job(channel.clone()));
        }
    });
}

async fn unary<Q, A>(
    channel: Channel,
    method: &'static str,
    namespace: Option<&'static str>,
    request: Q,
) -> Result<A, tonic::Status>
where
    Q: Message + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
{
    let mut client = tonic::client::Grpc::new(channel);
    client
        .ready()
        .await
        .map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    let mut request = tonic::Request::new(request);
    if let Some(namespace) = namespace {
        let value = MetadataValue::from_static(namespace);
        request.metadata_mut().insert("containerd-namespace", value);
    }
    let codec = ProstCodec::default();
    let answer = client.unary(request, PathAndQuery::from_static(method), codec);
    answer.await.map(tonic::Response::into_inner)
}
