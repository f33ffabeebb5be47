package httpapi

import "strings"

// name is a header field's name that means something here, as a bit, or several names
// as a set. 0: it means nothing.
type name uint32

const (
	nameHost name = 1 << iota
	nameContentLength
	nameTransferEncoding
	nameContentType
	nameContentEncoding
	nameContentDigest
	nameAuthorization
	nameOrigin
	nameSecFetchSite
	nameTraceParent
	nameTraceState
	nameExpect
	nameKey
	nameTag
	nameKeys
	nameOrderingKey
	nameProperty
	nameDelay
	nameDeliverAt
	nameTTL
	namePrefer
	nameConnection
	nameMisspelt   // MQ- and something that is no option
	nameCloudEvent // ce- and an attribute
)

const (
	// atMostOnce are those where a second one would leave open which counts.
	atMostOnce = nameHost | nameContentLength | nameTransferEncoding | nameContentType | nameAuthorization | nameOrigin |
		nameSecFetchSite | nameTraceParent | nameExpect
	// ofOneMessage are those that say something about the one message of a publish.
	ofOneMessage = nameKey | nameTag | nameKeys | nameOrderingKey | nameProperty | nameDelay | nameDeliverAt | nameTTL | nameMisspelt
)

// names are those that are known whole, in lower case.
var names = map[string]name{
	"host": nameHost, "content-length": nameContentLength, "transfer-encoding": nameTransferEncoding,
	"content-type": nameContentType, "content-encoding": nameContentEncoding, "content-digest": nameContentDigest,
	"authorization": nameAuthorization, "origin": nameOrigin, "sec-fetch-site": nameSecFetchSite,
	"traceparent": nameTraceParent, "tracestate": nameTraceState, "expect": nameExpect, "prefer": namePrefer, "connection": nameConnection,
	"idempotency-key": nameKey, "mq-tag": nameTag, "mq-key": nameKeys, "mq-ordering-key": nameOrderingKey,
	"mq-property": nameProperty, "mq-delay": nameDelay, "mq-deliver-at": nameDeliverAt, "mq-ttl": nameTTL,
}

// nameOf tells what a name in lower case means.
func nameOf(text string) name {
	switch n := names[text]; {
	case n != 0:
		return n
	case strings.HasPrefix(text, "mq-"):
		return nameMisspelt
	case strings.HasPrefix(text, "ce-"):
		return nameCloudEvent
	}
	return 0
}
