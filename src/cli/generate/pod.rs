//! The pod that seeds a node, as a manifest with the reasons as comments.
//!
//! It is written as text because a serialiser writes no comments; the tests read it back into the
//! types of the [Kubernetes API](https://kubernetes.io/docs/reference/kubernetes-api/) and run it.

use std::path::Path;
use std::time::Duration;

use super::seed::{Seed, Unpacker};

/// Where the list is mounted.
const LIST_DIRECTORY: &str = "/etc/pullctl/list";
/// The list's name there, and its key in the ConfigMap.
pub(super) const LIST: &str = "images.txt";
/// Where the logins are mounted.
const LOGINS: &str = "/etc/pullctl/logins";
/// The one directory that pullctl can write, in memory.
const STATE: &str = "/run/pullctl";
/// What the readiness probe looks at.
const STATUS: &str = "/run/pullctl/status.json";
/// What pullctl reads on a node: mirrors and authorities, and the daemon's configuration.
const SETTINGS: &str = "/etc/containerd";
/// Where a node trusts the authorities that its owner added.
const AUTHORITIES: &str = "/etc/ssl/certs";

/// What writing a layer's files needs beyond a plain process: owners and modes of others, device
/// nodes, file capabilities, and the attributes `trusted.overlay.*`.
const CAPABILITIES: [&str; 7] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP", "SYS_ADMIN"];

/// How long the pod lives.
#[derive(Debug, Clone, Copy)]
pub(super) enum Life {
    /// It seeds, waits this long, and seeds again.
    Waits(Duration),
    /// It ends when all is in place.
    Ends,
}

/// A text as YAML takes it, whatever is in it: JSON's strings are YAML's.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The template of the pod, as it stands below `template:`.
pub(super) fn template(seed: &Seed<'_>, life: Life, node: Option<&str>) -> String {
    let name = quoted(&seed.args.name);
    let mut text = format!(
        "    metadata:
      labels:
        app.kubernetes.io/name: pullctl
        app.kubernetes.io/instance: {name}
      annotations:
        # Another list is another template, so that its pods are made anew.
        pullctl.list: {digest}
    spec:
      # No priorityClassName: system-node-critical would let a seeding push out the pods that it
      # is there for.
      automountServiceAccountToken: false
      # Mirrors on localhost, the node's resolver and its routes, as containerd itself has them.
      hostNetwork: true
      dnsPolicy: Default
      terminationGracePeriodSeconds: 30
",
        digest = quoted(&seed.list_digest().to_string()),
    );
    match life {
        Life::Waits(_) => text.push_str(
            "      # A node that is cordoned or not ready yet is seeded too.\n      tolerations:\n        - operator: Exists\n",
        ),
        Life::Ends => text.push_str("      restartPolicy: OnFailure\n"),
    }
    text.push_str(&placement(seed, life, node));
    if let Some(secret) = &seed.args.secret {
        text.push_str(&format!("      imagePullSecrets:\n        - name: {}\n", quoted(secret)));
    }
    text.push_str(&container(seed, life));
    text.push_str(&volumes(seed));
    text
}

/// Which nodes it may run on.
fn placement(seed: &Seed<'_>, life: Life, node: Option<&str>) -> String {
    if let Some(node) = node {
        return format!("      nodeName: {}\n", quoted(node));
    }
    let mut text = "      nodeSelector:\n        kubernetes.io/os: linux\n".to_owned();
    for (key, value) in &seed.args.node_selector {
        text.push_str(&format!("        {}: {}\n", quoted(key), quoted(value)));
    }
    if let Life::Ends = life {
        text.push_str(&format!(
            "      # Each pod on a node of its own.
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            - topologyKey: kubernetes.io/hostname
              labelSelector:
                matchLabels:
                  app.kubernetes.io/instance: {}
",
            quoted(&seed.args.name)
        ));
    }
    text
}

fn container(seed: &Seed<'_>, life: Life) -> String {
    let interval = match life {
        Life::Waits(interval) => Some(interval),
        Life::Ends => None,
    };
    let mut text = format!(
        "      containers:\n        - name: pullctl\n          image: {image}\n          command: [\"/pullctl\"]\n          args:\n",
        image = quoted(&seed.args.image.to_string()),
    );
    for word in seed.command(&format!("{LIST_DIRECTORY}/{LIST}"), STATUS, interval) {
        text.push_str(&format!("            - {}\n", quoted(&word)));
    }
    let logins = seed.args.secret.as_ref().map(|_| ("DOCKER_CONFIG".to_owned(), LOGINS.to_owned()));
    let variables: Vec<_> = logins.iter().chain(&seed.args.environment).collect();
    if !variables.is_empty() {
        text.push_str("          env:\n");
    }
    for (name, value) in variables {
        let (name, value) = (quoted(name), quoted(value));
        text.push_str(&format!("            - name: {name}\n              value: {value}\n"));
    }
    if let Life::Waits(_) = life {
        text.push_str(&format!(
            "          # Ready means seeded: every image of the list is in place.
          readinessProbe:
            exec:
              command: [\"/pullctl\", \"status\", \"{STATUS}\"]
            periodSeconds: 10
"
        ));
    }
    text.push_str(&security(seed.args.unpacker));
    text.push_str(
        "          resources:
            requests:
              cpu: 50m
              memory: 64Mi
            limits:
              memory: 512Mi
",
    );
    text.push_str(&mounts(seed));
    text
}

fn security(unpacker: Unpacker) -> String {
    let mut text = "          securityContext:
            # The socket is root's. Who may use it may do on the node what root may, whatever
            # else is dropped here.
            runAsUser: 0
            runAsGroup: 0
            readOnlyRootFilesystem: true
            allowPrivilegeEscalation: false
            seccompProfile:
              type: RuntimeDefault
            capabilities:
              drop: [\"ALL\"]
"
    .to_owned();
    if unpacker == Unpacker::Direct {
        text.push_str(&format!(
            "              # To write layers' files into containerd's directories: owners and modes of
              # others, devices, file capabilities, and overlayfs' own attributes (SYS_ADMIN).
              add: [{}]
",
            CAPABILITIES.map(quoted).join(", ")
        ));
    }
    text
}

/// A path of the node: its volume's name, and whether the pod only reads it.
fn host_paths<'a>(seed: &'a Seed<'_>) -> Vec<(String, &'a Path, bool)> {
    let socket = Path::new(&seed.socket).parent().unwrap_or(Path::new("/run/containerd"));
    let mut paths = vec![
        ("socket".to_owned(), socket, true),
        ("settings".to_owned(), Path::new(SETTINGS), true),
        ("authorities".to_owned(), Path::new(AUTHORITIES), true),
    ];
    let further = seed.args.host_paths.iter().enumerate();
    paths.extend(further.map(|(position, path)| (format!("host-{position}"), &**path, true)));
    if seed.args.unpacker == Unpacker::Direct {
        paths.push(("root".to_owned(), &seed.args.containerd_root, false));
    }
    paths
}

fn mounts(seed: &Seed<'_>) -> String {
    let mut text = "          volumeMounts:\n".to_owned();
    let mut mount = |name: &str, path: &str, is_read_only: bool| {
        let path = quoted(path);
        text.push_str(&format!("            - name: {name}\n              mountPath: {path}\n"));
        if is_read_only {
            text.push_str("              readOnly: true\n");
        }
    };
    mount("list", LIST_DIRECTORY, true);
    mount("state", STATE, false);
    if seed.args.secret.is_some() {
        mount("logins", LOGINS, true);
    }
    for (name, path, is_read_only) in host_paths(seed) {
        mount(&name, &path.display().to_string(), is_read_only);
    }
    text
}

fn volumes(seed: &Seed<'_>) -> String {
    let name = quoted(&seed.args.name);
    let mut text = format!(
        "      volumes:
        - name: list
          configMap:
            name: {name}
        - name: state
          emptyDir:
            medium: Memory
            sizeLimit: 1Mi
"
    );
    if let Some(secret) = &seed.args.secret {
        text.push_str(&format!(
            "        - name: logins
          secret:
            secretName: {}
            items:
              - key: .dockerconfigjson
                path: config.json
",
            quoted(secret)
        ));
    }
    for (name, path, _) in host_paths(seed) {
        let remark = match name.as_str() {
            // A socket that is mounted by itself is gone with the daemon that made it.
            "socket" => {
                "        # The socket's directory, since a daemon that starts again makes another socket.\n"
            }
            "root" => {
                "        # At the same path as on the node: containerd names its files by it.\n"
            }
            _ => "",
        };
        let path = quoted(&path.display().to_string());
        text.push_str(&format!(
            "{remark}        - name: {name}\n          hostPath:\n            path: {path}\n            type: {}\n",
            if name == "settings" { "DirectoryOrCreate" } else { "Directory" },
        ));
    }
    text
}
