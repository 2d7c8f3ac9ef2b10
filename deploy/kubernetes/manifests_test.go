// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package kubernetes

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// A manifest is what this package knows of the objects in a file.
type manifest struct {
	services []corev1.Service
	labels   map[string]string // of the pods
	selector map[string]string
	pod      corev1.PodSpec
	replicas int32
	claims   []corev1.PersistentVolumeClaim
}

// read decodes a file strictly: a field that Kubernetes does not know, or
// that is there twice, is a mistake it would not tell.
func read(t *testing.T, file string) manifest {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var m manifest
	for doc := range bytes.SplitSeq(data, []byte("\n---\n")) {
		var kind struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal(doc, &kind); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		switch kind.APIVersion + " " + kind.Kind {
		case "v1 Service":
			var s corev1.Service
			err = yaml.UnmarshalStrict(doc, &s)
			m.services = append(m.services, s)
		case "apps/v1 StatefulSet":
			var s appsv1.StatefulSet
			err = yaml.UnmarshalStrict(doc, &s)
			m.labels, m.selector, m.pod, m.replicas, m.claims = s.Spec.Template.Labels, s.Spec.Selector.MatchLabels, s.Spec.Template.Spec, *s.Spec.Replicas, s.Spec.VolumeClaimTemplates
			if s.Spec.ServiceName != "tsidp" {
				t.Errorf("%s: the service of the set is %q", file, s.Spec.ServiceName)
			}
		case "apps/v1 Deployment":
			var d appsv1.Deployment
			err = yaml.UnmarshalStrict(doc, &d)
			m.labels, m.selector, m.pod, m.replicas = d.Spec.Template.Labels, d.Spec.Selector.MatchLabels, d.Spec.Template.Spec, *d.Spec.Replicas
		default:
			t.Errorf("%s has the object %+v", file, kind)
		}
		if err != nil {
			t.Errorf("%s: %s: %v", file, kind.Kind, err)
		}
	}
	return m
}

// TestManifests: what one part names, another has.
func TestManifests(t *testing.T) {
	for file, several := range map[string]bool{"sqlite.yaml": false, "postgres.yaml": true} {
		t.Run(file, func(t *testing.T) {
			m := read(t, file)
			for k, v := range m.selector {
				if m.labels[k] != v {
					t.Errorf("the pods lack the label %s=%s", k, v)
				}
			}
			if (m.replicas > 1) != several || several != has(m.pod, "TSIDP_STORE") || several == (len(m.claims) > 0) {
				t.Errorf("%d servers with the environment %v and %d claims", m.replicas, m.pod.Containers[0].Env, len(m.claims))
			}
			if len(m.services) != 1 {
				t.Fatalf("%d services", len(m.services))
			}
			if has(m.pod, "TSIDP_ISSUER") != has(m.pod, "TSIDP_TLS_CERT") {
				t.Error("Tailscale's certificates are for the node's own name, and a name of one's own needs another")
			}
			checkService(t, m)
			checkVolumes(t, m)
			checkSecurity(t, m.pod)
		})
	}
}

func has(pod corev1.PodSpec, env string) bool {
	return slices.ContainsFunc(pod.Containers[0].Env, func(e corev1.EnvVar) bool { return e.Name == env })
}

// checkService: the service leads to the port of -listen, which has the public
// routes only.
func checkService(t *testing.T, m manifest) {
	t.Helper()
	for k, v := range m.services[0].Spec.Selector {
		if m.labels[k] != v {
			t.Errorf("the service selects %s=%s, which no pod has", k, v)
		}
	}
	if len(m.pod.Containers) != 1 {
		t.Fatalf("%d containers, want the server alone", len(m.pod.Containers))
	}
	server := m.pod.Containers[0]
	if len(m.services[0].Spec.Ports) == 0 {
		t.Error("the service has no port")
	}
	for _, p := range m.services[0].Spec.Ports {
		i := slices.IndexFunc(server.Ports, func(cp corev1.ContainerPort) bool { return cp.Name == p.TargetPort.StrVal })
		if i < 0 {
			t.Errorf("the server has no port %q of the service", p.TargetPort.StrVal)
			continue
		}
		listen := corev1.EnvVar{Name: "TSIDP_LISTEN", Value: fmt.Sprintf("tcp::%d", server.Ports[i].ContainerPort)}
		if !slices.Contains(server.Env, listen) {
			t.Errorf("the service leads to the port %d, and the server does not listen at %s", server.Ports[i].ContainerPort, listen.Value)
		}
	}
}

func checkVolumes(t *testing.T, m manifest) {
	t.Helper()
	names := make(map[string]bool)
	for _, v := range m.pod.Volumes {
		names[v.Name] = true
	}
	for _, c := range m.claims {
		names[c.Name] = true
	}
	for _, c := range m.pod.Containers {
		for _, mount := range c.VolumeMounts {
			if !names[mount.Name] {
				t.Errorf("there is no volume %q", mount.Name)
			}
		}
	}
}

// checkSecurity: the pod passes the profile "restricted" of the Pod Security
// Standards, and the server is probed by its own command.
func checkSecurity(t *testing.T, pod corev1.PodSpec) {
	t.Helper()
	s := pod.SecurityContext
	if s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("security context of the pod %+v", s)
	}
	for _, c := range pod.Containers {
		s := c.SecurityContext
		if s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.Capabilities == nil || !slices.Contains(s.Capabilities.Drop, "ALL") || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
			t.Errorf("security context of %s: %+v", c.Name, s)
		}
	}
	server := pod.Containers[0]
	for _, p := range []*corev1.Probe{server.StartupProbe, server.LivenessProbe, server.ReadinessProbe} {
		if p == nil || p.Exec == nil || !slices.Equal(p.Exec.Command[:2], []string{"/bin/tsidp-server", "healthcheck"}) {
			t.Errorf("probe %+v", p)
		}
	}
	if slices.Contains(server.LivenessProbe.Exec.Command, "-ready") || !slices.Contains(server.ReadinessProbe.Exec.Command, "-ready") {
		t.Error("a restart does not mend what -ready asks for")
	}
}
