package e2e

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// job is one request: a message, or several as a batch.
type job []*spec

// plan is what posters send: rounds, and in each a list for each poster, which
// sends it in order. All of it follows from the seed.
type plan [][][]job

// posters send at the same time. All messages of a lane belong to one of them,
// so that they are accepted in a known order.
const posters = 8

// topics of a plan.
type topics struct {
	plain    string
	keyed    string // has the ordering keys
	large    string
	sentBack string // its handler makes messages go back to the broker
}

func (t topics) all() []string { return []string{t.plain, t.keyed, t.large, t.sentBack} }

func makePlan(seed uint64, messages, rounds int, t topics) plan {
	random := rand.New(rand.NewPCG(seed, 1))
	p := make(plan, rounds)
	for r := range p {
		specs := make([][]*spec, posters)
		for n := r * messages / rounds; n < (r+1)*messages/rounds; n++ {
			s := randomSpec(random, seed, n, t)
			poster := posterOf(s)
			specs[poster] = append(specs[poster], s)
		}
		p[r] = make([][]job, posters)
		for poster, list := range specs {
			p[r][poster] = cutJobs(random, list)
		}
	}
	p.addRefused(random, seed, messages, t)
	return p
}

func posterOf(s *spec) int {
	if s.orderingKey == "" {
		return s.number % posters
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(s.lane())) // never fails
	return int(h.Sum32() % posters)
}

func randomSpec(random *rand.Rand, seed uint64, n int, t topics) *spec {
	s := &spec{number: n, seed: seed, form: form(random.IntN(2)), size: randomSize(random, n)}
	s.topic = t.plain
	switch kind := random.IntN(100); {
	case s.size > 64<<10:
		s.topic = t.large
	case kind < 20 && s.size <= 4<<10:
		s.topic, s.orderingKey = t.keyed, fmt.Sprintf("customer-%d", random.IntN(40))
	case kind < 26:
		s.topic = t.sentBack
	}
	if random.IntN(30) == 0 {
		s.wait = time.Second
	}
	addMetadata(random, s)
	return s
}

// randomSize: most messages are small; some are at the limit, and at the one
// below.
func randomSize(random *rand.Rand, n int) int {
	if n%1600 < 2 {
		return limit - n%1600
	}
	switch kind := random.IntN(1000); {
	case kind < 50:
		return 1
	case kind < 700:
		return 2 + random.IntN(255)
	case kind < 960:
		return 256 + random.IntN(4<<10)
	case kind < 995:
		return 4<<10 + random.IntN(60<<10)
	default:
		return 64<<10 + random.IntN(1<<20)
	}
}

// words stand in tags, keys and properties.
var words = []string{"created", "paid", "größe", "заказ", "注文", "🐟", "a-b_c.d", "x"}

func addMetadata(random *rand.Rand, s *spec) {
	word := func() string { return words[random.IntN(len(words))] }
	if random.IntN(2) == 0 {
		s.tag = word()
	}
	for i := range random.IntN(3) {
		s.keys = append(s.keys, fmt.Sprintf("%s-%d-%d", word(), s.number, i))
	}
	if random.IntN(2) == 0 {
		s.contentType = []string{"application/json", "text/plain; charset=utf-8", "application/octet-stream"}[random.IntN(3)]
	}
	for i := range random.IntN(4) {
		name := fmt.Sprintf("p%d", i)
		if s.form == query {
			name = fmt.Sprintf("p%d-%s", i, word())
		}
		value := word() + []string{"", "=", " & ", "%41", "\n", "\t" + word() + " "}[random.IntN(6)]
		s.properties = append(s.properties, property{name, value})
	}
	sortProperties(s.properties)
	if random.IntN(5) == 0 {
		s.traceParent = fmt.Sprintf("00-%016x%016x-%016x-01", random.Uint64()|1, random.Uint64(), random.Uint64()|1)
	}
}

// cutJobs makes batches of some runs of small messages.
func cutJobs(random *rand.Rand, list []*spec) []job {
	var jobs []job
	for len(list) > 0 {
		n := 1
		if random.IntN(80) == 0 {
			n = fitting(list, 2+random.IntN(40))
		}
		if n > 1 {
			inBatch(list[:n])
		}
		jobs = append(jobs, list[:n:n])
		list = list[n:]
	}
	return jobs
}

// inBatch leaves out what a batch cannot say for each message.
func inBatch(list []*spec) {
	for _, s := range list {
		s.traceParent, s.wait = "", 0
	}
}

// fitting is how many of the first n messages fit into a batch; at least one.
func fitting(list []*spec, n int) int {
	for i, s := range list[:min(n, len(list))] {
		if s.size > 64<<10 {
			return max(i, 1)
		}
	}
	return min(n, len(list))
}

// addRefused puts requests in between that must be refused, with numbers that
// no other has: a set of them a round, and a batch of which one message is bad.
func (p plan) addRefused(random *rand.Rand, seed uint64, next int, t topics) {
	good := func() *spec {
		s := &spec{number: next, seed: seed, form: query, size: 1 + random.IntN(500)}
		s.topic = t.plain
		next++
		return s
	}
	for r := range p {
		var jobs []job
		for i := range badSpecs(good()) {
			jobs = append(jobs, job{badSpecs(good())[i]})
		}
		batch := job{good(), good(), badSpecs(good())[r%2], good()}
		for i, s := range batch {
			batch[i] = s.refused(-1, func(*spec) {})
		}
		for _, j := range append(jobs, batch) {
			list := &p[r][random.IntN(posters)]
			at := random.IntN(len(*list) + 1)
			*list = append((*list)[:at], append([]job{j}, (*list)[at:]...)...)
		}
	}
}
