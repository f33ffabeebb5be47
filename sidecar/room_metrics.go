package sidecar

import "github.com/prometheus/client_golang/prometheus"

// roomCollector shows what the room has found at its last looks.
type roomCollector struct{ room *room }

// roomGauges are its gauges.
var roomGauges = []struct {
	desc *prometheus.Desc
	of   func(*room) int64
}{
	{prometheus.NewDesc("remora_spool_bytes", "Allocated bytes of the spool's directory, ballast and logs included, its quarantine not; measured once a second, and what was written since.", nil, nil), (*room).taken},
	{prometheus.NewDesc("remora_spool_limit_bytes", "Allocated bytes of the spool's directory at which new messages are refused, until it is at 90 %.", nil, nil), func(r *room) int64 { return r.cap.Limit }},
	{prometheus.NewDesc("remora_spool_volume_free_bytes", "Free space of the spool's volume.", nil, nil), func(r *room) int64 { return r.free.Load() }},
	{prometheus.NewDesc("remora_spool_reserve_bytes", "Free space of the spool's volume below which new messages are refused.", nil, nil), func(r *room) int64 { return r.cap.Reserve }},
	{prometheus.NewDesc("remora_spool_ballast_bytes", "Size of the ballast; 0 while it is given up.", nil, nil), (*room).ballastHeld},
}

// Describe implements prometheus.Collector.
func (roomCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, g := range roomGauges {
		ch <- g.desc
	}
}

// Collect implements prometheus.Collector.
func (c roomCollector) Collect(ch chan<- prometheus.Metric) {
	for _, g := range roomGauges {
		ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, float64(g.of(c.room)))
	}
}

func (r *room) ballastHeld() int64 {
	held, _ := r.ballast.Held() // an error is one of the directory, which shows elsewhere
	return held
}
