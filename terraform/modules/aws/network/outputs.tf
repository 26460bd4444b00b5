output "vpc_id" {
  description = "The VPC."
  value       = aws_vpc.this.id
}

output "public_subnet_ids" {
  description = "Public subnets by zone: for sentries and load balancers."
  value       = { for zone, subnet in aws_subnet.public : zone => subnet.id }

  # AWS makes no balancer that faces the internet in a network that has no way there yet.
  depends_on = [aws_route.out, aws_route_table_association.public]
}

output "private_subnet_ids" {
  description = "Private subnets by zone: for the controller and validators."
  value       = { for zone, subnet in aws_subnet.private : zone => subnet.id }
}

output "prefix_list_ids" {
  description = "Prefix lists by name, for the other modules' security groups."
  value       = { for name, list in aws_ec2_managed_prefix_list.this : name => list.id }
}

output "s3_prefix_list_id" {
  description = "AWS's own list of S3's addresses in this region: lets a validator without a public way out reach S3."
  value       = aws_vpc_endpoint.s3.prefix_list_id
}

output "kms_key_arn" {
  description = "The key of volumes, logs, queues and backups."
  value       = aws_kms_key.this.arn
}

output "nat_addresses" {
  description = "Public addresses from which private subnets are seen, by zone."
  value       = { for zone, address in aws_eip.nat : zone => address.public_ip }
}
