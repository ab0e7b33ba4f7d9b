# Matrix instructions of each kernel, counted in its assembly text (gfx942 .s, NVIDIA .ptx): "mma NAME COUNT".
!ptx && /^[A-Za-z_][A-Za-z0-9_]*:/ { name = $1; sub(/:.*/, "", name) }
/\.entry / { ptx = 1; name = $0; sub(/.*\.entry /, "", name); sub(/\(.*/, "", name) }
/v_mfma_|wgmma\.mma_async|mma\.sync/ { n[name]++ }
END { for (k in n) print "mma", k, n[k] }
