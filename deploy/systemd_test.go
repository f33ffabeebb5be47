package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	unitFile   = "systemd/remora.service"
	configFile = "systemd/remora.yaml"
	binary     = "/usr/local/bin/sidecar"
)

func TestUnitVerifies(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatalf("systemd-analyze is missing: on Debian, apt-get install systemd (%v)", err)
	}
	dir := t.TempDir()
	unit := filepath.Join(dir, "remora.service")
	// The check wants the command to exist, and here it is not installed.
	stand := filepath.Join(dir, "sidecar")
	write(t, stand, "#!/bin/sh\n", 0o755)
	write(t, unit, strings.ReplaceAll(read(t, unitFile), binary, stand), 0o644)

	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", unit).CombinedOutput()
	if err != nil || strings.Contains(string(out), "remora.service:") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func TestUnitKeepsItsContract(t *testing.T) {
	tests := []struct{ section, key, want string }{
		{"Service", "Type", "exec"},
		{"Service", "User", "remora"},
		{"Service", "ExecStart", binary + " run --config /etc/remora/remora.yaml"},
		{"Service", "Restart", "always"},
		{"Service", "RestartSec", "2s"},
		{"Unit", "StartLimitIntervalSec", "0"},
		{"Service", "KillSignal", "SIGTERM"},
		{"Service", "StateDirectory", "remora"},
		{"Service", "StateDirectoryMode", "0700"},
		{"Service", "UMask", "0077"},
		{"Service", "LimitNOFILE", "65536"},
		{"Service", "LimitCORE", "0"},
		{"Service", "OOMScoreAdjust", "-500"},
		{"Service", "NoNewPrivileges", "yes"},
		{"Service", "CapabilityBoundingSet", ""},
		{"Service", "AmbientCapabilities", ""},
		{"Service", "ProtectSystem", "strict"},
		{"Service", "ProtectHome", "yes"},
		{"Service", "PrivateTmp", "yes"},
		{"Service", "PrivateDevices", "yes"},
		{"Service", "ProtectKernelModules", "yes"},
		{"Service", "ProtectKernelTunables", "yes"},
		{"Service", "ProtectControlGroups", "yes"},
		{"Service", "RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"},
		{"Service", "RestrictNamespaces", "yes"},
		{"Service", "RestrictSUIDSGID", "yes"},
		{"Service", "LockPersonality", "yes"},
		{"Service", "MemoryDenyWriteExecute", "yes"},
		{"Service", "SystemCallArchitectures", "native"},
		{"Install", "WantedBy", "multi-user.target"},
	}
	unit := parseUnit(t, read(t, unitFile))
	for _, tt := range tests {
		if got := unit[tt.section][tt.key]; !slices.Equal(got, []string{tt.want}) {
			t.Errorf("[%s] %s = %q, want %q", tt.section, tt.key, got, tt.want)
		}
	}
	filters := unit["Service"]["SystemCallFilter"]
	if len(filters) == 0 || filters[0] != "@system-service" {
		t.Errorf("SystemCallFilter = %q, want @system-service first", filters)
	}
}

func TestUnitWaitsForTheDrain(t *testing.T) {
	service := parseUnit(t, read(t, unitFile))["Service"]
	var c config
	decodeText(t, read(t, configFile), &c)

	stop, err := time.ParseDuration(strings.Join(service["TimeoutStopSec"], ""))
	if err != nil || c.drain() <= 0 || stop < c.drain()+30*time.Second {
		t.Errorf("TimeoutStopSec = %v (%v) with drain.timeout = %v, want at least 30s more", stop, err, c.drain())
	}
}

func TestUnitOwnsTheSpoolItIsConfiguredWith(t *testing.T) {
	var c config
	decodeText(t, read(t, configFile), &c)
	if !strings.HasPrefix(c.Spool.Dir, "/var/lib/remora/") {
		t.Errorf("spool.dir = %q, want it in the unit's StateDirectory", c.Spool.Dir)
	}
	if c.Listen.Health != "127.0.0.1:7602" || c.Listen.Data != "127.0.0.1:7600" {
		t.Errorf("listeners %+v, want loopback on a host", c.Listen)
	}
	if c.Broker.Type != "rocketmq" {
		t.Errorf("broker.type = %q, want it named", c.Broker.Type)
	}
}

func TestUnitParserKeepsRepeatsAndEmptyValues(t *testing.T) {
	unit := parseUnit(t, "# no\n[Service]\nA=1\nA=2\nB=\n; no\n\n[Install]\nA=x y=z\n")
	if !slices.Equal(unit["Service"]["A"], []string{"1", "2"}) || !slices.Equal(unit["Service"]["B"], []string{""}) ||
		!slices.Equal(unit["Install"]["A"], []string{"x y=z"}) {
		t.Errorf("parsed %v", unit)
	}
}

// parseUnit reads section → key → values, in order.
func parseUnit(t *testing.T, text string) map[string]map[string][]string {
	t.Helper()
	unit := map[string]map[string][]string{}
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		key, value, assigned := strings.Cut(line, "=")
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
			unit[section] = map[string][]string{}
		case !assigned || unit[section] == nil:
			t.Fatalf("unit line %q is no assignment in a section", line)
		default:
			unit[section][key] = append(unit[section][key], value)
		}
	}
	return unit
}
