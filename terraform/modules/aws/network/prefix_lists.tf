# Lists of networks by name. Who edits a list moves the outer wall of every group that names it, without touching a group.

resource "aws_ec2_managed_prefix_list" "this" {
  for_each = var.prefix_lists

  name           = "${var.name}-${each.key}"
  address_family = "IPv4"
  max_entries    = each.value.max_entries
  tags           = merge(local.tags, { Name = "${var.name}-${each.key}" })

  dynamic "entry" {
    for_each = each.value.cidrs

    content {
      cidr        = entry.key
      description = entry.value
    }
  }
}
