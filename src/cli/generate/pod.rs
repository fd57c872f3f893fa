//! The pod that seeds a node, as a manifest with the reasons as comments.
//!
//! It is written as text because a serialiser writes no comments; the tests read it back into the
//! types of the [Kubernetes API](https://kubernetes.io/docs/reference/kubernetes-api/) and run it.

use std::time::Duration;

use super::mounts::{LIST_DIRECTORY, LOGINS, PROGRAM, STATE};
use super::seed::{Seed, Unpacker};

/// The list's name in its directory, and its key in the ConfigMap.
pub(super) const LIST: &str = "images.txt";
/// What the readiness probe looks at.
const STATUS: &str = "/run/pullctl/status.json";

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

/// A text of a command or a variable, in which Kubernetes puts other variables for `$(NAME)` and `$` for
/// `$$`: as it is.
fn literal(text: &str) -> String {
    quoted(&text.replace('$', "$$"))
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
    let mut text = "      nodeSelector:\n".to_owned();
    for (key, value) in &seed.node_labels {
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
        "      containers:\n        - name: pullctl\n          image: {image}\n          command: [{program}]\n          args:\n",
        image = quoted(&seed.args.image.to_string()),
        program = quoted(PROGRAM),
    );
    for word in seed.command(&format!("{LIST_DIRECTORY}/{LIST}"), STATUS, interval) {
        text.push_str(&format!("            - {}\n", literal(&word)));
    }
    if !seed.variables.is_empty() {
        text.push_str("          env:\n");
    }
    for (name, value) in &seed.variables {
        let (name, value) = (quoted(name), literal(value));
        text.push_str(&format!("            - name: {name}\n              value: {value}\n"));
    }
    if let Life::Waits(_) = life {
        text.push_str(&format!(
            "          # Ready means seeded: every image of the list is in place.
          readinessProbe:
            exec:
              command: [\"{PROGRAM}\", \"status\", \"{STATUS}\"]
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
    for path in &seed.node_paths {
        mount(&path.name, &path.path.display().to_string(), path.is_read_only);
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
    for node_path in &seed.node_paths {
        let (name, path) = (&node_path.name, quoted(&node_path.path.display().to_string()));
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
        text.push_str(&format!(
            "{remark}        - name: {name}\n          hostPath:\n            path: {path}\n            type: {}\n",
            if node_path.is_made { "DirectoryOrCreate" } else { "Directory" },
        ));
    }
    text
}
