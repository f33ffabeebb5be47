package config

// Config is the whole configuration. The names of its keys are the words of
// metrics and logs.
type Config struct {
	Listen        Listen         `yaml:"listen"`
	Spool         Spool          `yaml:"spool"`
	Broker        Broker         `yaml:"broker"`
	Forwarder     Forwarder      `yaml:"forwarder"`
	Topics        Topics         `yaml:"topics"`
	Memory        Memory         `yaml:"memory"`
	Transactions  Transactions   `yaml:"transactions"`
	Ledger        Ledger         `yaml:"ledger"`
	Subscriptions []Subscription `yaml:"subscriptions"`
	Dedupe        Dedupe         `yaml:"dedupe"`
	Drain         Drain          `yaml:"drain"`
	Log           Log            `yaml:"log"`
}

// Listen says where the three listeners are, and who may speak to them.
type Listen struct {
	Data           []string `yaml:"data"`             // host:port or unix:///path.sock, several
	Admin          string   `yaml:"admin"`            // host:port
	Health         string   `yaml:"health"`           // host:port
	TokenFile      string   `yaml:"token_file"`       // bearer tokens of data, one a line
	AdminTokenFile string   `yaml:"admin_token_file"` // bearer tokens of admin, one a line
	Hosts          []string `yaml:"hosts"`            // Host headers allowed besides loopback
	Origins        []string `yaml:"origins"`          // browser origins allowed
	SocketGroup    string   `yaml:"socket_group"`     // group of unix sockets
	PeerUIDs       []uint32 `yaml:"peer_uids"`        // users who may connect to them; none: the file's mode decides
}

// Spool says where accepted messages are kept, and how many.
type Spool struct {
	Dir               string      `yaml:"dir"`
	Limit             Size        `yaml:"limit"`
	TopicShare        string      `yaml:"topic_share"`
	LockWait          Duration    `yaml:"lock_wait"`
	SyncTimeout       Duration    `yaml:"sync_timeout"`
	Reserve           string      `yaml:"reserve"`
	MaxMessage        Size        `yaml:"max_message"`
	MaxBatch          MaxBatch    `yaml:"max_batch"`
	Receipts          Receipts    `yaml:"receipts"`
	Idempotency       Idempotency `yaml:"idempotency"`
	Retain            string      `yaml:"retain"`
	EncryptionKeyFile string      `yaml:"encryption_key_file"` // keys, one a line, the current one first
}

// MaxBatch bounds one batch of a producing application.
type MaxBatch struct {
	Messages int  `yaml:"messages"`
	Bytes    Size `yaml:"bytes"`
}

// Receipts bounds how long, and how many, settled messages stay known.
type Receipts struct {
	Keep  Duration `yaml:"keep"`
	Max   int      `yaml:"max"`
	Limit Size     `yaml:"limit"`
}

// Idempotency bounds how long dedupe keys of producers stay known.
type Idempotency struct {
	Window Duration `yaml:"window"`
	Limit  Size     `yaml:"limit"`
}

// Types of a broker.
const (
	BrokerEmbedded = "embedded"
	BrokerRocketMQ = "rocketmq"
)

// Broker says which one, and how to reach it.
type Broker struct {
	Type     string   `yaml:"type"`
	RocketMQ RocketMQ `yaml:"rocketmq"`
}

// RocketMQ is a cluster.
type RocketMQ struct {
	NameServers   []string `yaml:"name_servers"` // host:port
	ProducerGroup string   `yaml:"producer_group"`
	AccessKeyFile string   `yaml:"access_key_file"` // both are read again when they change
	SecretKeyFile string   `yaml:"secret_key_file"`
}

// Forwarder is the way from the spool to the broker.
type Forwarder struct {
	Concurrency    int             `yaml:"concurrency"`
	Batch          ForwardBatch    `yaml:"batch"`
	AttemptTimeout Duration        `yaml:"attempt_timeout"`
	Retry          Backoff         `yaml:"retry"`
	Rate           map[string]Rate `yaml:"rate"`
	Ordering       Ordering        `yaml:"ordering"`
}

// ForwardBatch bounds one attempt.
type ForwardBatch struct {
	MaxMessages int  `yaml:"max_messages"`
	MaxBytes    Size `yaml:"max_bytes"`
}

// Backoff doubles from Initial to Max.
type Backoff struct {
	Initial Duration `yaml:"initial"`
	Max     Duration `yaml:"max"`
}

// Ordering says what a key does when its broker is gone, and when a message of it
// has become a dead letter.
type Ordering struct {
	FailoverAfter string `yaml:"failover_after"`
	OnDead        string `yaml:"on_dead"`
}

// Topics bounds topics.
type Topics struct {
	Allow    []string          `yaml:"allow"`
	Max      int               `yaml:"max"`
	Rate     map[string]Rate   `yaml:"rate"`
	Priority map[string]int    `yaml:"priority"`
	Delay    map[string]string `yaml:"delay"` // who keeps delayed messages: DelaySpool, which is the default, or DelayBroker
}

// Memory bounds the bytes of bodies on their way.
type Memory struct {
	Ingest  Size `yaml:"ingest"`
	Deliver Size `yaml:"deliver"` // fetched ahead by all subscriptions, about
}

// Transactions says where applications may be asked for the decision of a
// transaction that they left open.
type Transactions struct {
	// CheckURLs are patterns, as http://127.0.0.1:*; what matches none is refused.
	CheckURLs []string `yaml:"check_urls"`
	// AdoptedCheckURL is asked for those of a spool that is adopted. None: they are
	// undecided then.
	AdoptedCheckURL string `yaml:"adopted_check_url"`
}

// Ledger says how long the numbers that ended otherwise than confirmed are kept.
type Ledger struct {
	Keep Duration `yaml:"keep"`
}

// Drain bounds the way out at SIGTERM.
type Drain struct {
	Timeout Duration `yaml:"timeout"`
}

// Log says what is logged and how.
type Log struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}
