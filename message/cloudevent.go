package message

import "fmt"

// PropCloudEvent begins the names of the properties that carry the attributes
// of a CloudEvent in binary mode. An application cannot set them itself.
const PropCloudEvent = "ce-"

// SetCloudEvent adds the attributes of a CloudEvent to the properties, each
// under PropCloudEvent and its name. Call it after Validate; it checks what it
// adds, and the size of all. The error is an *Invalid.
func (m *Message) SetCloudEvent(attributes []Property) error {
	if len(attributes) == 0 {
		return nil
	}
	all := append(make([]Property, 0, len(m.Properties)+len(attributes)), m.Properties...)
	for _, a := range attributes {
		if a.Value == "" {
			return invalid("invalid-cloudevent", "the attribute %q is empty", a.Name)
		}
		if e := validText("invalid-cloudevent", fmt.Sprintf("the attribute %q", a.Name), a.Value); e != nil {
			return e
		}
		all = append(all, Property{Name: PropCloudEvent + a.Name, Value: a.Value})
	}
	SortProperties(all)
	m.Properties = all
	if e := m.validWireSize(); e != nil {
		return e
	}
	return nil
}
