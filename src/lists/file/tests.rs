//! Lists in all their forms, and what is wrong with some.

use std::path::PathBuf;

use secrecy::ExposeSecret as _;

use super::*;
use crate::failure::Diagnose as _;

fn fixture(name: &str) -> List {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/lists");
    read(&folder.join(name)).unwrap()
}

fn parsed(text: &str) -> Result<List, Error> {
    let path = Path::new("list");
    parse(path, &decoded(path, text.as_bytes().to_vec())?)
}

fn refused(text: &str) -> (String, String) {
    let error = parsed(text).unwrap_err();
    (error.to_string(), error.hint().unwrap_or_default())
}

/// Each image with its line and in what it is.
fn found(list: &List) -> Vec<String> {
    let line = |image: &super::super::Listed| {
        let field = image.origin.field.as_deref().unwrap_or("-");
        format!("{} {} {} {field}", image.place.line, image.reference, image.origin)
    };
    list.images.iter().map(line).collect()
}

fn names(list: &List) -> Vec<String> {
    list.images.iter().map(|image| image.reference.to_string()).collect()
}

#[test]
fn a_list_may_have_blank_lines_comments_and_options() {
    let text = "\u{feff}\n# for kubeadm\nregistry.k8s.io/pause:3.6\tpin # sandbox\n\tbusybox\n\
                harbor.example:5000/a#b/c\n";
    assert!(refused(text).0.starts_with("list:5: "), "{:?}", refused(text));
    let text =
        text.replace("#b", "") + "a/b platform=linux/arm64 platform=linux/amd64 as=c/d:2\r\n";
    let list = parsed(&text).unwrap();
    assert_eq!(
        names(&list),
        [
            "registry.k8s.io/pause:3.6",
            "docker.io/library/busybox:latest",
            "harbor.example:5000/a/c:latest",
            "docker.io/a/b:latest"
        ]
    );
    assert_eq!(
        list.images.iter().map(|image| image.pin).collect::<Vec<_>>(),
        [true, false, false, false]
    );
    let last = &list.images[3];
    assert_eq!(last.place.line, 6);
    assert_eq!(last.platforms.len(), 2);
    assert_eq!(last.name.as_ref().unwrap().to_string(), "docker.io/c/d:2");
}

#[test]
fn a_bad_line_is_named_with_its_next_step() {
    for (text, place, hint) in [
        ("busybox\nBad/Name:x y\n", "list:2: ", ""),
        ("busybox\nbusybox now\n", "list:2: \"now\" is no option", "[pin]"),
        ("busybox as=a as=b\n", "list:1: \"as=b\" is no option", "[as=NAME]"),
        ("busybox platform=\n", "list:1: not a platform", "linux/amd64"),
        ("busybox as=a/B\n", "list:1: not an image reference", "a/b"),
        ("busybox\nquay.io/a:${TAG}\n", "list:2: ", "envsubst"),
        ("quay.io/a:{{ .Values.tag }}\n", "list:1: a template", "helm template"),
    ] {
        let (message, said) = refused(text);
        assert!(message.starts_with(place), "{message}");
        assert!(said.contains(hint), "{said}");
    }
}

#[test]
fn everything_of_a_pod_that_holds_an_image_is_found_with_its_line() {
    let list = fixture("deployment.yaml");
    assert_eq!(
        found(&list),
        [
            "21 docker.io/library/busybox:1.36 Deployment/web init container wait",
            "25 harbor.example.net/shop/web:1.20 Deployment/web container app",
            "30 docker.io/library/1.20:latest Deployment/web container numeric",
            "33 quay.io/tools/debug@sha256:\
             e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 \
             Deployment/web ephemeral container debugger",
            "39 quay.io/models/small:3 Deployment/web volume model",
        ]
    );
    let logins = list.images[1].logins.as_ref().unwrap();
    assert_eq!(
        (logins.namespace.as_deref(), &*logins.secrets),
        (Some("shop"), &["regcred".to_owned()][..])
    );
    assert!(list.notices.is_empty(), "{:?}", list.notices);
}

#[test]
fn each_of_kubernetes_own_kinds_has_its_pod_found() {
    let pod = "{containers: [{name: c, image: a/b}]}";
    let template = format!("{{template: {{spec: {pod}}}}}");
    let workload = |version: &str, kind: &str| {
        format!("apiVersion: {version}\nkind: {kind}\nspec: {template}\n")
    };
    for text in [
        format!("apiVersion: v1\nkind: Pod\nspec: {pod}\n"),
        format!("apiVersion: v1\nkind: PodTemplate\ntemplate: {{spec: {pod}}}\n"),
        format!(
            "apiVersion: batch/v1\nkind: CronJob\nspec: {{jobTemplate: {{spec: {template}}}}}\n"
        ),
        format!("apiVersion: apps/v1\nkind: DeploymentList\nitems: [{{spec: {template}}}]\n"),
        format!(
            "apiVersion: v1\nkind: List\nitems: [{{apiVersion: v1, kind: Pod, spec: {pod}}}]\n"
        ),
        format!("- {{apiVersion: v1, kind: Pod, spec: {pod}}}\n"),
        workload("apps/v1", "Deployment"),
        workload("apps/v1", "StatefulSet"),
        workload("apps/v1", "DaemonSet"),
        workload("apps/v1", "ReplicaSet"),
        workload("batch/v1", "Job"),
        workload("v1", "ReplicationController"),
    ] {
        let list = parsed(&text).unwrap();
        assert_eq!(names(&list), ["docker.io/a/b:latest"], "{text}");
        assert!(list.notices.is_empty(), "{text}");
    }
}

#[test]
fn only_what_is_run_counts() {
    let list = fixture("cronjob.yaml");
    assert_eq!(
        found(&list),
        [
            "25 docker.io/library/postgres:16 CronJob/backup container dump",
            "27 quay.io/backup/upload:2 CronJob/backup container upload",
        ]
    );
}

#[test]
fn unknown_kinds_are_looked_through_and_said() {
    let list = fixture("crds.yaml");
    assert_eq!(
        found(&list),
        [
            "12 quay.io/shop/web:blue Rollout/shop container shop",
            "24 ghcr.io/knative/hello:latest Service/hello spec.template.spec.containers.image",
            "32 quay.io/prometheus/prometheus:v3.0.0 Prometheus/k8s spec.image",
            "34 quay.io/thanos/thanos:v0.37.0 Prometheus/k8s spec.thanos.image",
            "43 quay.io/cache/server:7.40 Cache/sessions spec.image",
        ]
    );
    assert_eq!(list.images[2].logins.as_ref().unwrap().secrets, ["monitoring"]);
    let [notice] = &*list.notices else { panic!("{:?}", list.notices) };
    assert_eq!(notice.code, "unknown-kind");
    for said in ["Prometheus (2 images)", "Rollout (1 image)", "ServiceMonitor (no image)"] {
        assert!(notice.message.contains(said), "{}", notice.message);
    }
}

#[test]
fn images_in_parts_and_in_lists_are_taken_where_they_can_be_nothing_else() {
    let list = fixture("values.yaml");
    assert_eq!(
        found(&list),
        [
            "7 quay.io/shop/proxy:1.20 document sidecar.image",
            "9 quay.io/shop/metrics:v2 document metrics",
            "16 quay.io/shop/one:latest document extraImages",
            "17 docker.io/library/two:2 document extraImages",
            "22 quay.io/shop/init:4 document images.init",
            "23 docker.io/shop/api:2024.1 document images.tags.api",
            "24 quay.io/shop/jobs@sha256:\
             e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 \
             document images.jobs",
            "31 nvcr.io/nvidia/driver:570.86 ClusterPolicy/gpus spec.driver",
            "38 quay.io/shop/web:5 Kustomization/shop spec.images",
            "46 quay.io/shop/web:6 Application/shop spec.source.kustomize.images",
            "53 quay.io/shop/worker:7 Worker/one spec.workers",
            "55 quay.io/shop/sidecar:8 Worker/one spec.sidecarImage",
        ]
    );
    let (kinds, passed): (Vec<_>, Vec<_>) =
        list.notices.iter().partition(|notice| notice.code == "unknown-kind");
    assert!(kinds[0].message.contains("document (7 images)"), "{kinds:?}");
    let passed: Vec<String> = passed.iter().map(|notice| notice.message.clone()).collect();
    let lines: Vec<Option<usize>> =
        list.notices.iter().filter(|it| it.code != "unknown-kind").map(|it| it.line).collect();
    let told = |why: &str| passed.iter().filter(|message| message.contains(why)).count();
    assert_eq!(lines, [3, 13, 18, 19, 23, 32, 54].map(Some), "{passed:#?}");
    assert_eq!(told("its `tag` is empty"), 2, "{passed:#?}");
    assert_eq!(told("an image of Worker/one is passed over: its `tag` is empty"), 1);
    assert_eq!(told("ClusterPolicy/gpus is passed over: it says no version"), 1, "{passed:#?}");
    assert_eq!(told("need not be those of an image"), 1, "{passed:#?}");
    assert_eq!(told("it has no tag"), 2, "{passed:#?}");
}

#[test]
fn a_thousand_images_that_are_passed_over_are_told_as_a_number() {
    let many = "- {image: {repository: a/b, tag: ''}}\n".repeat(1000);
    let list = parsed(&format!("kind: X\nspec:\n{many}")).unwrap();
    assert_eq!(list.notices.len(), 52, "{:?}", list.notices.last());
    assert!(
        list.notices[50].message.ends_with("950 more are passed over"),
        "{:?}",
        list.notices[50]
    );
}

#[test]
fn what_helm_prints_is_read_with_the_logins_in_it() {
    let list = fixture("helm.yaml");
    assert_eq!(
        names(&list),
        [
            "docker.io/library/redis:7.4",
            "harbor.example.net/shop/web:2.1.0",
            "docker.io/library/busybox:latest"
        ]
    );
    let logins: Vec<_> = list.images.iter().map(|image| image.logins.is_some()).collect();
    assert_eq!(logins, [false, true, false]);
    let [secret] = &*list.secrets else { panic!("{:?}", list.secrets) };
    assert_eq!((secret.name.as_str(), secret.place.line), ("registry", 17));
    assert!(secret.content.expose_secret().contains("harbor.example.net"));
    assert!(!format!("{list:?}").contains("cm9ib3Q6"));
}

#[test]
fn lists_of_other_tools_are_taken_as_they_print_them() {
    assert_eq!(fixture("kubeadm.txt").images.len(), 7);
    assert_eq!(
        found(&fixture("kubeadm.json")),
        [
            "5 registry.k8s.io/kube-apiserver:v1.34.2 list -",
            "6 registry.k8s.io/coredns/coredns:v1.12.1 list -",
            "7 registry.k8s.io/pause:3.10.1 list -",
        ]
    );
    assert_eq!(fixture("k3s-images.txt").images.len(), 8);
    assert_eq!(
        found(&fixture("kubectl-get.json")),
        [
            "13 docker.io/library/busybox:1.36 Pod/one container a",
            "25 quay.io/a/b:1 Deployment/two container b",
        ]
    );
    let several = "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"spec\":{\"containers\":[{\"image\":\"a/b\"}]}}\n";
    assert_eq!(parsed(&several.repeat(2)).unwrap().images.len(), 2);
    assert_eq!(names(&parsed("---\n- a/b\n- c/d:1.10\n").unwrap())[1], "docker.io/c/d:1.10");
    assert_eq!(names(&parsed("[\"a/b\", c/d]").unwrap()).len(), 2);
}

#[test]
fn a_template_is_told_from_a_list() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/lists");
    let error = read(&folder.join("chart-template.yaml")).unwrap_err();
    assert!(error.to_string().contains("yaml:1: a template"), "{error}");
    let pod = |image: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: c\n    image: {image}\n"
        )
    };
    for image in
        ["{{ .Values.image }}", "'{{ .Values.image }}:1'", "{{ .a }}:{{ .b }}", "a:{{.Tag}}"]
    {
        let (message, hint) = refused(&pod(image));
        assert_eq!(message, "list:6: a template that was not rendered", "{image}");
        assert!(hint.contains("helm template"), "{hint}");
    }
    // Argo fills its own in when the workflow runs.
    let workflow = |image: &str| {
        format!(
            "apiVersion: argoproj.io/v1\nkind: Workflow\nspec:\n  container: {{image: '{image}'}}\n"
        )
    };
    let list = parsed(&workflow("{{inputs.parameters.image}}")).unwrap();
    assert!(list.images.is_empty());
    assert_eq!(list.notices[0].code, "image-passed-over");
    assert!(refused(&workflow("{{ .Values.image }}")).0.ends_with("not rendered"));
}

#[test]
fn an_image_that_is_empty_or_none_is_named_where_it_must_be_one() {
    let pod = |image: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n  - name: c\n{image}"
        )
    };
    for (image, message) in [
        ("    image: \"\"\n", "list:7: container c of Pod/p has no image"),
        ("    image:\n", "list:7: container c of Pod/p has no image"),
        ("", "list:6: container c of Pod/p has no image"),
        ("    image: [a]\n", "list:7: container c of Pod/p has no image"),
        ("    image: Not/Good\n", "list:7: not an image reference"),
    ] {
        assert_eq!(refused(&pod(image)).0, message);
    }
    let text = "kind: X\nspec: {a: {image: ''}, b: {image: ~}, c: {image: 'Ubuntu 24.04'}}\n";
    let list = parsed(text).unwrap();
    assert!(list.images.is_empty());
    assert_eq!(list.notices.len(), 3, "{:?}", list.notices);
    let list = parsed(&pod("    image: auto\n")).unwrap();
    assert!(list.notices[0].message.contains("istio"), "{:?}", list.notices);
}

#[test]
fn yaml_that_does_not_parse_is_told_with_its_place() {
    let error =
        parsed("apiVersion: v1\nkind: Pod\nspec:\n  containers: [a\nmetadata: {}\n").unwrap_err();
    let Error::Yaml { place, column, .. } = &error else { panic!("{error:?}") };
    assert!(place.line >= 4 && *column >= 1, "{error}");
    let (message, hint) = refused("{\"kind\": \"Pod\"");
    assert!(message.starts_with("list:1:"), "{message}");
    assert!(hint.contains("nothing of the list was started"), "{hint}");
}

#[test]
fn what_charts_and_clusters_write_every_day_is_within_the_bounds() {
    let pod = |labels: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{labels: {labels}}}\n\
                 spec: {{containers: [{{image: a/b}}]}}\n"
        )
    };
    let aliases = format!(
        "{{x: &a {{b: c}}, {}}}",
        (0..150).map(|n| format!("k{n}: *a")).collect::<Vec<_>>().join(", ")
    );
    let merged = format!(
        "base: &b {{image: a/b}}\nkind: X\ncontainers:\n{}",
        "- {<<: *b, name: n}\n".repeat(150)
    );
    assert_eq!(parsed(&pod(&aliases)).unwrap().images.len(), 1);
    assert_eq!(parsed(&merged).unwrap().images.len(), 151);
    assert_eq!(parsed(&format!("---\n{}", pod("{}")).repeat(1025)).unwrap().images.len(), 1025);
    let values = pod(&format!(
        "{{{}}}",
        (0..125_000).map(|n| format!("k{n}: v")).collect::<Vec<_>>().join(", ")
    ));
    assert_eq!(parsed(&values).unwrap().images.len(), 1);
    let lines: String = (0..50_000).map(|n| format!("registry.example/team/app:{n}\n")).collect();
    assert_eq!(parsed(&lines).unwrap().images.len(), 50_000);
}

#[test]
fn aliases_that_stand_for_billions_of_values_end_at_a_bound() {
    let mut laughs = "kind: X\na0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    let mut merges = "kind: X\na0: &a0 {k: v}\n".to_owned();
    let mut chain = "kind: X\na0: &a0 [x]\n".to_owned();
    for level in 1..2000 {
        let below = level - 1;
        if level < 12 {
            let nine = vec![format!("*a{below}"); 9].join(", ");
            laughs += &format!("a{level}: &a{level} [{nine}]\n");
            merges += &format!(
                "a{level}: &a{level} {{k{level}: *a{below}, l{level}: *a{below}, <<: [{nine}]}}\n"
            );
        }
        chain += &format!("a{level}: &a{level} [*a{below}]\n");
    }
    for (text, said) in [(laughs, "more than 4000000 values"), (chain, "256 levels")] {
        let (message, _) = refused(&text);
        assert!(message.contains(said), "{message}");
    }
    assert!(parsed(&merges).unwrap().images.is_empty());
    let (message, _) = refused("kind: X\na: &a [*a]\n");
    assert!(message.contains("part of"), "{message}");
    assert!(matches!(parsed(&"[".repeat(100_000)), Err(Error::Yaml { .. })));
}

#[test]
fn a_secret_that_is_none_is_named_without_its_content() {
    let secret = |of_type: &str, data: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: regcred}}\ntype: {of_type}\n{data}"
        )
    };
    const JSON: &str = "kubernetes.io/dockerconfigjson";
    for (data, message) in [
        ("data: {.dockerconfigjson: hunter2!}\n", "list:5: the Secret regcred is not in base64"),
        (
            "data: {.dockerconfigjson: aHVudGVyMg==}\n",
            "list:5: the Secret regcred does not hold docker's",
        ),
        (
            "stringData:\n  .dockerconfigjson: '[\"hunter2\"]'\n",
            "list:6: the Secret regcred does not hold",
        ),
        ("data: {password: aHVudGVyMg==}\n", "list:1: the Secret regcred does not have the data"),
    ] {
        let error = parsed(&secret(JSON, data)).unwrap_err();
        assert!(error.to_string().starts_with(message), "{error}");
        let said = format!("{error} {error:?} {:?}", error.hint());
        assert!(!said.contains("hunter2") && !said.contains("aHVudGVyMg"), "{said}");
    }
    // What is no login is nobody's business.
    assert!(parsed(&secret("Opaque", "data: {a: '!'}\n")).unwrap().secrets.is_empty());
    let old = secret(
        "kubernetes.io/dockercfg",
        "stringData: {.dockercfg: '{\"quay.io\": {\"auth\": \"YTpi\"}}'}\n",
    );
    let list = parsed(&old).unwrap();
    assert_eq!(list.secrets[0].content.expose_secret(), r#"{"auths":{"quay.io":{"auth":"YTpi"}}}"#);
}
