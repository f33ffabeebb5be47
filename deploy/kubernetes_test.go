package deploy_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

const manifestFile = "kubernetes/statefulset.yaml"

// manifest is what of the file the contract is about.
type manifest struct {
	config config
	set    statefulSet
}

// config is what of the embedded configuration the manifest must agree with.
type config struct {
	Listen struct {
		Data, Admin, Health string
	}
	Spool struct {
		Dir   string
		Limit string
	}
	Broker struct{ Type string }
	Drain  struct{ Timeout string }
}

func (c config) drain() time.Duration {
	timeout, err := time.ParseDuration(c.Drain.Timeout)
	if err != nil {
		return -1
	}
	return timeout
}

type statefulSet struct {
	APIVersion string `yaml:"apiVersion"`
	Spec       struct {
		PersistentVolumeClaimRetentionPolicy struct {
			WhenDeleted string `yaml:"whenDeleted"`
			WhenScaled  string `yaml:"whenScaled"`
		} `yaml:"persistentVolumeClaimRetentionPolicy"`
		Template struct {
			Spec podSpec
		}
		VolumeClaimTemplates []struct {
			Metadata struct{ Name string }
			Spec     struct {
				AccessModes []string `yaml:"accessModes"`
			}
		} `yaml:"volumeClaimTemplates"`
	}
}

type podSpec struct {
	TerminationGracePeriodSeconds int `yaml:"terminationGracePeriodSeconds"`
	SecurityContext               struct {
		RunAsNonRoot   bool                  `yaml:"runAsNonRoot"`
		RunAsUser      int                   `yaml:"runAsUser"`
		FSGroup        int                   `yaml:"fsGroup"`
		SeccompProfile struct{ Type string } `yaml:"seccompProfile"`
	} `yaml:"securityContext"`
	AutomountServiceAccountToken *bool       `yaml:"automountServiceAccountToken"`
	InitContainers               []container `yaml:"initContainers"`
	Containers                   []container
	Volumes                      []map[string]any
}

type container struct {
	Name            string
	Args            []string
	RestartPolicy   string `yaml:"restartPolicy"`
	Env             []struct{ Name, Value string }
	StartupProbe    probe `yaml:"startupProbe"`
	LivenessProbe   probe `yaml:"livenessProbe"`
	ReadinessProbe  probe `yaml:"readinessProbe"`
	Lifecycle       map[string]any
	SecurityContext struct {
		AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
		ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
		Capabilities             struct{ Drop []string }
	} `yaml:"securityContext"`
	VolumeMounts []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

type probe struct {
	HTTPGet struct {
		Path string
		Port int
	} `yaml:"httpGet"`
	PeriodSeconds    int `yaml:"periodSeconds"`
	FailureThreshold int `yaml:"failureThreshold"`
}

func (c container) env(name string) string {
	for _, e := range c.Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

func (c container) mounts(volume, path string) bool {
	for _, m := range c.VolumeMounts {
		if m.Name == volume && m.MountPath == path {
			return true
		}
	}
	return false
}

func (c container) confined() bool {
	s := c.SecurityContext
	return s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation &&
		s.ReadOnlyRootFilesystem && slices.Equal(s.Capabilities.Drop, []string{"ALL"})
}

func (p probe) asks(path string) bool { return p.HTTPGet.Path == path && p.HTTPGet.Port == 7602 }

// pod and remora are the two parts most rows are about. A manifest without
// init containers has an empty remora, which no row accepts.
func (m manifest) pod() podSpec { return m.set.Spec.Template.Spec }

func (m manifest) remora() container {
	if first := m.pod().InitContainers; len(first) > 0 {
		return first[0]
	}
	return container{}
}

// manifestContract lists what the manifest promises, and for each row one edit
// of the file that breaks it.
var manifestContract = []struct {
	name  string
	holds func(manifest) bool
	// old → new, applied everywhere, makes the row false.
	old, new string
}{
	{
		"a native sidecar is the first init container",
		func(m manifest) bool { return m.remora().Name == "remora" && m.remora().RestartPolicy == "Always" },
		"restartPolicy: Always", "restartPolicy: Never",
	},
	{
		"the spool is on a claim that outlives the pod",
		func(m manifest) bool {
			claims := m.set.Spec.VolumeClaimTemplates
			return len(claims) == 1 && m.remora().mounts(claims[0].Metadata.Name, "/var/lib/remora") &&
				strings.HasPrefix(m.config.Spool.Dir, "/var/lib/remora/")
		},
		"name: spool, mountPath: /var/lib/remora", "name: spool, mountPath: /data",
	},
	{
		"one pod at a time has the spool",
		func(m manifest) bool {
			claims := m.set.Spec.VolumeClaimTemplates
			return len(claims) == 1 && slices.Equal(claims[0].Spec.AccessModes, []string{"ReadWriteOncePod"})
		},
		"[ReadWriteOncePod]", "[ReadWriteMany]",
	},
	{
		"the claim stays when the set is scaled or deleted",
		func(m manifest) bool {
			policy := m.set.Spec.PersistentVolumeClaimRetentionPolicy
			return policy.WhenDeleted == "Retain" && policy.WhenScaled == "Retain"
		},
		"whenScaled: Retain", "whenScaled: Delete",
	},
	{
		"no volume dies with the pod",
		func(m manifest) bool {
			return len(m.pod().Volumes) > 0 && !slices.ContainsFunc(m.pod().Volumes, func(volume map[string]any) bool {
				_, empty := volume["emptyDir"]
				return empty
			})
		},
		"configMap: {name: orders-remora}", "emptyDir: {}",
	},
	{
		"no preStop, which would refuse the application's last messages",
		func(m manifest) bool { return m.remora().Name != "" && m.remora().Lifecycle == nil },
		"args: [run", "lifecycle: {preStop: {sleep: {seconds: 5}}}\n          args: [run",
	},
	{
		"startup is asked for at /startupz",
		func(m manifest) bool { return m.remora().StartupProbe.asks("/startupz") },
		"path: /startupz", "path: /readyz",
	},
	{
		"liveness is asked for at /livez",
		func(m manifest) bool { return m.remora().LivenessProbe.asks("/livez") },
		"path: /livez", "path: /readyz",
	},
	{
		"readiness is asked for at /readyz",
		func(m manifest) bool { return m.remora().ReadinessProbe.asks("/readyz") },
		"path: /readyz", "path: /metrics",
	},
	{
		"the start may wait for the predecessor's lock",
		func(m manifest) bool {
			p := m.remora().StartupProbe
			return time.Duration(p.PeriodSeconds*p.FailureThreshold)*time.Second >= time.Minute
		},
		"failureThreshold: 120", "failureThreshold: 3",
	},
	{
		"the kubelet can reach the health listener",
		func(m manifest) bool { return m.config.Listen.Health == "0.0.0.0:7602" },
		"health: 0.0.0.0:7602", "health: 127.0.0.1:7602",
	},
	{
		"only the pod can reach the data and admin listeners",
		func(m manifest) bool {
			return m.config.Listen.Data == "127.0.0.1:7600" && m.config.Listen.Admin == "127.0.0.1:7601"
		},
		"data: 127.0.0.1:7600", "data: 0.0.0.0:7600",
	},
	{
		"the application knows where to post",
		func(m manifest) bool {
			return len(m.pod().Containers) == 1 && m.pod().Containers[0].env("REMORA_URL") == "http://127.0.0.1:7600"
		},
		"name: REMORA_URL", "name: REMORA_ADDRESS",
	},
	{
		"the broker is named",
		func(m manifest) bool { return m.config.Broker.Type == "rocketmq" },
		"type: rocketmq", "type: embedded",
	},
	{
		"the configuration that is mounted is the one that is read",
		func(m manifest) bool {
			return slices.Equal(m.remora().Args, []string{"run", "--config", "/etc/remora/remora.yaml"}) &&
				m.remora().mounts("remora-config", "/etc/remora")
		},
		"--config, /etc/remora/remora.yaml", "--config, /etc/remora.yaml",
	},
	{
		"the pod's grace is longer than the drain",
		func(m manifest) bool {
			grace := time.Duration(m.pod().TerminationGracePeriodSeconds) * time.Second
			return m.config.drain() > 0 && grace >= m.config.drain()+30*time.Second
		},
		"terminationGracePeriodSeconds: 75", "terminationGracePeriodSeconds: 30",
	},
	{
		"not root",
		func(m manifest) bool {
			return m.pod().SecurityContext.RunAsNonRoot && m.pod().SecurityContext.RunAsUser == 65532
		},
		"runAsUser: 65532", "runAsUser: 0",
	},
	{
		"the volume belongs to the group",
		func(m manifest) bool { return m.pod().SecurityContext.FSGroup == 65532 },
		"fsGroup: 65532", "fsGroup: 0",
	},
	{
		"seccomp",
		func(m manifest) bool { return m.pod().SecurityContext.SeccompProfile.Type == "RuntimeDefault" },
		"type: RuntimeDefault", "type: Unconfined",
	},
	{
		"read-only root, no privileges, no capabilities",
		func(m manifest) bool { return m.remora().confined() },
		"drop: [ALL]", "drop: [NET_RAW]",
	},
	{
		"no service account token",
		func(m manifest) bool {
			mounted := m.pod().AutomountServiceAccountToken
			return mounted != nil && !*mounted
		},
		"automountServiceAccountToken: false", "automountServiceAccountToken: true",
	},
}

func TestManifestKeepsItsContract(t *testing.T) {
	text := read(t, manifestFile)
	for _, row := range manifestContract {
		t.Run(row.name, func(t *testing.T) {
			if !row.holds(parseManifest(t, text)) {
				t.Errorf("%s does not hold this", manifestFile)
			}
			broken := strings.ReplaceAll(text, row.old, row.new)
			if broken == text || row.holds(parseManifest(t, broken)) {
				t.Errorf("with %q → %q the row still holds: it checks nothing", row.old, row.new)
			}
		})
	}
}

func parseManifest(t *testing.T, text string) manifest {
	t.Helper()
	var m manifest
	seen := map[string]int{}
	for _, doc := range documents(t, text) {
		kind, _ := doc["kind"].(string)
		seen[kind]++
		switch kind {
		case "StatefulSet":
			decode(t, doc, &m.set)
		case "ConfigMap":
			decodeText(t, embeddedConfig(t, doc), &m.config)
		}
	}
	if seen["StatefulSet"] != 1 || seen["ConfigMap"] != 1 || m.set.APIVersion != "apps/v1" {
		t.Fatalf("%s holds %v, want one StatefulSet of apps/v1 and one ConfigMap", manifestFile, seen)
	}
	return m
}

func embeddedConfig(t *testing.T, doc map[string]any) string {
	t.Helper()
	data, _ := doc["data"].(map[string]any)
	text, ok := data["remora.yaml"].(string)
	if !ok {
		t.Fatalf("the ConfigMap has no remora.yaml")
	}
	return text
}

func documents(t *testing.T, text string) []map[string]any {
	t.Helper()
	var docs []map[string]any
	for dec := yaml.NewDecoder(strings.NewReader(text)); ; {
		var doc map[string]any
		if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
			return docs
		} else if err != nil {
			t.Fatalf("parse %s: %v", manifestFile, err)
		}
		docs = append(docs, doc)
	}
}

func decode(t *testing.T, doc map[string]any, into any) {
	t.Helper()
	var text bytes.Buffer
	if err := yaml.NewEncoder(&text).Encode(doc); err != nil {
		t.Fatal(err)
	}
	decodeText(t, text.String(), into)
}

func decodeText(t *testing.T, text string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), into); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
