package inject

import "strings"

// warnOverrides warns about variables that keep SDKs from the identity that a container
// has now.
func (p *patchBuilder) warnOverrides(c *Container) {
	for _, override := range Overrides(c.environment(), p.identity) {
		p.warn(IdentityOverridden, "container %q sets %s", c.Name, override)
	}
}

// warnForeign warns about a container with an identity of its own.
func (p *patchBuilder) warnForeign(c *Container, d *credentialSpec, env environment) {
	var set, missing []string
	for _, name := range d.identityNames() {
		if _, ok := c.environment().last(name); ok {
			set = append(set, name)
		} else {
			missing = append(missing, name)
		}
	}
	switch empty := c.environment().empty(d.identityNames()...); {
	case empty != "":
		p.warn(MountOnly, "container %q sets %s to an empty value, so it gets no role: remove it", c.Name, empty)
	case env.tokenPart:
		p.warn(MountOnly, "container %q mounts its token by subPath, where the kubelet does not renew it: mount the whole volume", c.Name)
	case d.fileVariable == envWebIdentityTokenFile && len(missing) > 0 && !c.HasEnvFrom:
		p.warn(MountOnly, "container %q sets %s without %s, so it gets no role: set both or none", c.Name, set[0], missing[0])
	default:
		p.warn(MountOnly, "container %q sets its own %s: for the role of the ServiceAccount, remove that", c.Name, strings.Join(set, " and "))
	}
}

// warnRegion warns about a container whose own region some SDKs do not find: an empty
// value is an error to some, and some read only one of the two variables. The second
// matters where the webhook has a region, which it adds only to a container with neither.
func (p *patchBuilder) warnRegion(c *Container, env environment) {
	if !env.region {
		return
	}
	if empty := c.environment().empty(envRegion, envDefaultRegion); empty != "" {
		if c.environment().sets(envRegion) || c.environment().sets(envDefaultRegion) {
			p.warn(RegionIncomplete, "container %q sets %s to an empty value: some SDKs find no region; set both", c.Name, empty)
			return
		}
		p.warn(RegionIncomplete, "container %q sets %s to an empty value: SDKs find no region; remove it", c.Name, empty)
		return
	}
	if p.settings.Region == "" || c.HasEnvFrom {
		return
	}
	for _, names := range [...][2]string{{envRegion, envDefaultRegion}, {envDefaultRegion, envRegion}} {
		if !c.environment().sets(names[1]) {
			p.warn(RegionIncomplete, "container %q sets %s without %s: some SDKs find no region; set both", c.Name, names[0], names[1])
		}
	}
}

// empty names those variables that are known to be set to an empty value.
func (e Environment) empty(names ...string) string {
	var empty []string
	for _, name := range names {
		if e.setsEmpty(name) {
			empty = append(empty, name)
		}
	}
	return strings.Join(empty, " and ")
}

func (c *Container) environment() Environment {
	return Environment{Variables: c.Env, Open: c.HasEnvFrom}
}
