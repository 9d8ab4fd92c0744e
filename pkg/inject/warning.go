package inject

import "strings"

// warnOverrides warns about variables that keep SDKs from using the injected identity.
func (p *patchBuilder) warnOverrides(c *Container) {
	for _, override := range Overrides(c.environment(), p.identity) {
		p.warn(IdentityOverridden, "container %q sets %s", c.Name, override)
	}
}

// warnOwnIdentity warns about a container that sets its own identity.
func (p *patchBuilder) warnOwnIdentity(c *Container, d *credentialSpec, env environment) {
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

// warnRegion warns about a container that sets a region which some SDKs do not find. Some
// SDKs fail for an empty value, and some read only one of the two variables. The second
// case matters only if the webhook has a region, because it adds that only to a container
// with neither variable.
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

// empty returns the names of those variables that are known to be set to an empty value,
// joined by "and".
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
