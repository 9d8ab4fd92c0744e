package explain

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
)

// addPod adds the pod of a manifest: a pod itself, or the one that a workload
// makes. Whatever has a template of a pod where Deployment, DaemonSet,
// StatefulSet, ReplicaSet, Job and CronJob have it is a workload, those of
// operators included.
func (m *Manifests) addPod(d document, namespace string) error {
	var pod document
	switch {
	case d.text("kind") == "Pod" && d.text("apiVersion") == "v1":
		pod = d
	case podTemplate(d) != nil:
		pod = podFromTemplate(podTemplate(d), d)
	default:
		return nil
	}
	metadata := d.object("metadata")
	name := cmp.Or(metadata.text("name"), metadata.text("generateName"))
	if name == "" {
		return fmt.Errorf("the %s has no name", d.text("kind"))
	}
	encoded, err := json.Marshal(pod)
	if err != nil {
		return err
	}
	m.Pods = append(m.Pods, Pod{From: d.text("kind") + " " + namespace + "/" + name, Namespace: namespace, Document: encoded})
	return nil
}

// podTemplate returns the template of a workload's pods, or nil.
func podTemplate(d document) document {
	spec := d.object("spec")
	for _, holder := range []document{spec, spec.object("jobTemplate").object("spec")} {
		template := holder.object("template")
		if _, ok := template.object("spec")["containers"].([]any); ok {
			return template
		}
	}
	return nil
}

// podFromTemplate makes a pod as a controller does, named after the workload: those of
// a StatefulSet have names that are known, all others are given one by the API
// server.
func podFromTemplate(template, workload document) document {
	metadata := maps.Clone(template.object("metadata"))
	if metadata == nil {
		metadata = document{}
	}
	of := workload.object("metadata")
	if namespace := of.text("namespace"); namespace != "" {
		metadata["namespace"] = namespace
	}
	name := cmp.Or(of.text("name"), of.text("generateName"))
	delete(metadata, "name")
	if workload.text("kind") == "StatefulSet" {
		metadata["name"] = name + "-0"
	} else {
		metadata["generateName"] = name + "-"
	}
	// A map of another type would not be read back as one.
	return document{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any(metadata), "spec": map[string]any(template.object("spec")),
	}
}
