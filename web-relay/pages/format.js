// Times and names in words.

const ROLES = { agent: "Agent", customer: "Customer", mixed: "Mixed", unknown: "Speaker" };

// 63000 -> "1:03", 3723000 -> "1:02:03".
export function clock(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

export function seconds(ms) {
  return `${(ms / 1000).toFixed(1)} s`;
}

// What to call a party: the role, or a letter where nobody knows the role.
export function speakerNames(parties) {
  const unknown = parties
    .filter((party) => party.role === "unknown")
    .map((party) => party.party_id)
    .sort();
  return new Map(
    parties.map(({ party_id: id, role }) => {
      const letter = String.fromCharCode(65 + Math.max(0, unknown.indexOf(id)));
      return [id, role === "unknown" ? `Speaker ${letter}` : (ROLES[role] ?? ROLES.unknown)];
    }),
  );
}

export function roleNames(parties) {
  return [...new Set(speakerNames(parties).values())].sort().join(" and ");
}
