package deploy_test

import (
	"testing"

	remora "github.com/remora-mq/remora/config"
)

// The configurations that the examples carry are ones that the sidecar takes.
func TestConfigurationsAreValid(t *testing.T) {
	texts := map[string]string{configFile: read(t, configFile)}
	for _, doc := range documents(t, read(t, manifestFile)) {
		if doc["kind"] == "ConfigMap" {
			texts[manifestFile] = embeddedConfig(t, doc)
		}
	}
	if len(texts) != 2 {
		t.Fatal("the manifest has no configuration")
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			l, err := remora.Load(remora.Sources{File: name, Data: []byte(text)})
			if err != nil {
				t.Fatal(err)
			}
			if l.Broker.Type != remora.BrokerRocketMQ || l.Spool.Dir == remora.Default().Spool.Dir {
				t.Errorf("broker %q and spool in %q: an example for production names both", l.Broker.Type, l.Spool.Dir)
			}
		})
	}
}
