//! Pods as the kubelet makes them: a sandbox and containers, over the CRI. They live in the node's
//! network, since there is no CNI here.

use std::path::PathBuf;

use containerd_client::tonic::transport::Channel;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, ContainerState, ContainerStatusRequest,
    CreateContainerRequest, ExecSyncRequest, ImageSpec, LinuxPodSandboxConfig,
    LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption, PodSandboxConfig,
    PodSandboxMetadata, RemovePodSandboxRequest, RunPodSandboxRequest, StartContainerRequest,
    StopContainerRequest, StopPodSandboxRequest,
};

use super::block_on;
use super::containerd::Containerd;

/// The file of a container's output, in the pod's log folder.
const LOG: &str = "container.log";

/// A running pod sandbox; it goes with the handle, whatever the test has come to.
pub(crate) struct Pod<'a> {
    daemon: &'a Containerd,
    id: String,
    config: PodSandboxConfig,
    logs: PathBuf,
}

impl<'a> Pod<'a> {
    /// Has the CRI run a pod's sandbox.
    pub(crate) fn run(daemon: &'a Containerd) -> Self {
        Self::try_run(daemon).expect("the sandbox runs")
    }

    /// The same where the CRI may refuse: what it says then is what a pod's events show.
    pub(crate) fn try_run(daemon: &'a Containerd) -> Result<Self, String> {
        let name = super::unique("pod");
        let logs = daemon.scratch("logs");
        let node = NamespaceMode::Node as i32;
        let namespaces = NamespaceOption { network: node, ..NamespaceOption::default() };
        let security = LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces),
            ..LinuxSandboxSecurityContext::default()
        };
        let config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                uid: name.clone(),
                name,
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            log_directory: logs.display().to_string(),
            linux: Some(LinuxPodSandboxConfig {
                security_context: Some(security),
                ..LinuxPodSandboxConfig::default()
            }),
            ..PodSandboxConfig::default()
        };
        let request = RunPodSandboxRequest {
            config: Some(config.clone()),
            ..RunPodSandboxRequest::default()
        };
        let answer = block_on(async { runtime(daemon).await.run_pod_sandbox(request).await });
        let answer = answer.map_err(|refused| refused.message().to_owned())?;
        let id = answer.into_inner().pod_sandbox_id;
        Ok(Self { daemon, id, config, logs })
    }

    /// The sandbox's ID, which its snapshot has as its key.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Creates and starts a container, as the kubelet does for an image that it may not pull:
    /// `image` is the ID that ImageStatus told. Answers what `command`, which must write
    /// something, wrote, when it has ended well.
    pub(crate) fn output_of(&self, image: &str, command: &[&str]) -> String {
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: super::unique("container"), attempt: 0 }),
            image: Some(ImageSpec { image: image.to_owned(), ..ImageSpec::default() }),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            ..ContainerConfig::default()
        };
        let id = self.start(config);
        let code = self.daemon.wait_until("the container's end", || self.exit_code(&id));
        assert_eq!(code, 0, "of {command:?}");
        // The CRI may tell the end before its log is written.
        self.daemon.wait_until("the container's output", || {
            let log = std::fs::read_to_string(self.logs.join(LOG)).unwrap_or_default();
            let said = log.lines().filter_map(logged).collect::<Vec<_>>().join("\n");
            Some(said).filter(|said| !said.is_empty())
        })
    }

    /// Creates and starts a container, whose output goes into the pod's log.
    pub(crate) fn start(&self, config: ContainerConfig) -> String {
        let request = CreateContainerRequest {
            pod_sandbox_id: self.id.clone(),
            config: Some(ContainerConfig { log_path: LOG.to_owned(), ..config }),
            sandbox_config: Some(self.config.clone()),
        };
        block_on(async {
            let mut runtime = runtime(self.daemon).await;
            let created = runtime.create_container(request).await;
            let id = created.expect("the container is created").into_inner().container_id;
            let start = StartContainerRequest { container_id: id.clone() };
            runtime.start_container(start).await.expect("the container starts");
            id
        })
    }

    /// Runs a command in a container, as an exec probe does: its exit code.
    pub(crate) fn exec(&self, container: &str, command: &[String]) -> i32 {
        let request = ExecSyncRequest {
            container_id: container.to_owned(),
            cmd: command.to_vec(),
            timeout: 10,
        };
        let answer = block_on(async { runtime(self.daemon).await.exec_sync(request).await });
        answer.expect("the command can be run").into_inner().exit_code
    }

    /// Ends a container by its signal and answers its exit code.
    pub(crate) fn stop(&self, container: &str) -> i32 {
        let request = StopContainerRequest { container_id: container.to_owned(), timeout: 30 };
        let answer = block_on(async { runtime(self.daemon).await.stop_container(request).await });
        answer.expect("the container ends");
        self.exit_code(container).expect("it has ended")
    }

    /// What the containers have written so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.logs.join(LOG)).unwrap_or_default()
    }

    /// The exit code of a container that has ended.
    pub(crate) fn exit_code(&self, container: &str) -> Option<i32> {
        let container_id = container.to_owned();
        let request = ContainerStatusRequest { container_id, verbose: false };
        let answer = block_on(async { runtime(self.daemon).await.container_status(request).await });
        let status = answer.expect("ContainerStatus answers").into_inner().status?;
        (status.state() == ContainerState::ContainerExited).then_some(status.exit_code)
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        let pod_sandbox_id = self.id.clone();
        // Its shim would outlive the daemon. Nothing to do about a failure while dropping.
        let _ = block_on(async {
            let mut runtime = runtime(self.daemon).await;
            let stop = StopPodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() };
            runtime.stop_pod_sandbox(stop).await?;
            runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id }).await
        });
    }
}

async fn runtime(daemon: &Containerd) -> RuntimeServiceClient<Channel> {
    RuntimeServiceClient::new(daemon.channel().await)
}

/// What a line of the CRI's log format, `TIME STREAM TAG text`, says.
fn logged(line: &str) -> Option<&str> {
    line.splitn(4, ' ').nth(3)
}
